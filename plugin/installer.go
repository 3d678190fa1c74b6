package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/kubectl/pkg/polymorphichelpers"
	"k8s.io/utils/ptr"
)

// installer brings objects into a cluster, and out of it.
type installer struct {
	*session
	*writing
	client   dynamic.Interface
	mapper   meta.ResettableRESTMapper
	progress *progress
}

func (s *session) newInstaller(w *writing) (*installer, error) {
	client, mapper, err := s.anything()
	return &installer{s, w, client, mapper, s.newProgress()}, err
}

// anything makes a client of objects of all kinds, and what knows the kinds that the cluster has.
func anything(factory cmdutil.Factory) (dynamic.Interface, meta.ResettableRESTMapper, error) {
	client, err := factory.DynamicClient()
	if err != nil {
		return nil, nil, err
	}
	mapper, err := factory.ToRESTMapper()
	if err != nil {
		return nil, nil, err
	}
	resettable, ok := mapper.(meta.ResettableRESTMapper)
	if !ok {
		return nil, nil, errors.New("the mapper of kinds cannot look again") // it is the factory's, which can
	}
	return client, resettable, nil
}

func (i *installer) resource(o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := o.GroupVersionKind()
	mapping, err := i.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		i.mapper.Reset() // it may have come since
		mapping, err = i.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return i.client.Resource(mapping.Resource).Namespace(o.GetNamespace()), nil
	}
	return i.client.Resource(mapping.Resource), nil
}

// apply makes the objects what they are to be: what defines others first, and the APIService last, when somebody can answer for it.
func (i *installer) apply(ctx context.Context, objects []*unstructured.Unstructured) error {
	order := func(o *unstructured.Unstructured) int {
		switch o.GetKind() {
		case "Namespace", "CustomResourceDefinition":
			return 0
		case "APIService":
			return 2
		}
		return 1
	}
	for step := range 3 {
		for _, o := range objects {
			if order(o) != step {
				continue
			}
			if i.strategy == cmdutil.DryRunClient {
				if err := i.tellDone(i.Out, "applied", o); err != nil {
					return err
				}
				continue
			}
			resource, err := i.resource(o)
			if err != nil {
				return err
			}
			applied, err := resource.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: fieldManager, Force: true, DryRun: serverDryRun(i.strategy)})
			if i.strategy == cmdutil.DryRunServer && isMissing(err) && o.GetNamespace() != "" {
				applied, err = o, nil // its namespace would be there
			}
			if err != nil {
				return fmt.Errorf("%s: %w", describeObject(o), err)
			}
			if err := i.tellDone(i.Out, "applied", applied); err != nil {
				return err
			}
		}
	}
	return nil
}

// remove deletes what the manifests made: first the APIService, since nobody would answer for it any more, and namespaces could not be
// deleted; the namespace last.
func (i *installer) remove(ctx context.Context, objects []*unstructured.Unstructured) error {
	order := func(o *unstructured.Unstructured) int {
		switch o.GetKind() {
		case "APIService":
			return 0
		case "Deployment":
			return 1
		case "Namespace":
			return 4
		case "CustomResourceDefinition":
			return 3
		}
		return 2
	}
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int { return order(a) - order(b) })
	for _, o := range objects {
		resource, err := i.resource(o)
		if meta.IsNoMatchError(err) {
			continue
		}
		if err != nil {
			return err
		}
		there, err := resource.Get(ctx, o.GetName(), metav1.GetOptions{})
		if err == nil && i.strategy != cmdutil.DryRunClient {
			err = resource.Delete(ctx, o.GetName(), metav1.DeleteOptions{DryRun: serverDryRun(i.strategy), PropagationPolicy: ptr.To(metav1.DeletePropagationForeground)})
		}
		switch {
		case apierrors.IsNotFound(err):
			continue
		case err != nil:
			return fmt.Errorf("%s: %w", describeObject(o), err)
		}
		if err := i.tellDone(i.Out, "deleted", there); err != nil {
			return err
		}
	}
	return nil
}

// await waits until the Deployments have rolled out and the API answers.
func (i *installer) await(ctx context.Context, c *clients, objects []*unstructured.Unstructured) error {
	last := "nothing was seen yet"
	err := wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		for _, o := range objects {
			if o.GetKind() != "Deployment" {
				continue
			}
			d, err := c.kubernetes.AppsV1().Deployments(o.GetNamespace()).Get(ctx, o.GetName(), metav1.GetOptions{})
			if err != nil {
				return false, err
			}
			content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(withKind(d))
			if err != nil {
				return false, err
			}
			said, done, err := new(polymorphichelpers.DeploymentStatusViewer).Status(&unstructured.Unstructured{Object: content}, 0)
			if err != nil {
				return false, fmt.Errorf("%w\nWhat is wrong: kubectl describe pods -n %s -l %s=%s", err, o.GetNamespace(), nameLabel, o.GetName())
			}
			if !done {
				last = trimLine(said)
				i.progress.say("%s", last)
				return false, nil
			}
		}
		available, why, err := c.apiAvailable(ctx)
		if !available && err == nil {
			last = "the API is not available: " + why
			i.progress.say("%s", last)
		}
		return available, err
	})
	if errors.Is(err, context.DeadlineExceeded) || wait.Interrupted(err) && ctx.Err() != nil {
		return timeoutError(fmt.Errorf("kedahttp does not answer yet: %s\nWhat is wrong: %s doctor", last, i.calledAs))
	}
	return err
}

// running is the API server's Deployment; nil if there is none. What Helm has installed is refused.
func (c *clients) running(ctx context.Context) (*appsv1.Deployment, error) {
	d, err := c.kubernetes.AppsV1().Deployments(usualNamespace).Get(ctx, "kedahttp-apiserver", metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	case d.Labels["app.kubernetes.io/managed-by"] == "Helm":
		return nil, fmt.Errorf("kedahttp was installed by Helm, which has to go on with it: helm upgrade, in namespace %s", usualNamespace)
	}
	return d, nil
}

func withKind(d *appsv1.Deployment) *appsv1.Deployment {
	d.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("Deployment"))
	return d
}

func trimLine(text string) string {
	for len(text) > 0 && text[len(text)-1] == '\n' {
		text = text[:len(text)-1]
	}
	return text
}

func describeObject(o *unstructured.Unstructured) string {
	kind := strings.ToLower(o.GetKind())
	if group := o.GroupVersionKind().Group; group != "" {
		kind += "." + group
	}
	return kind + "/" + o.GetName()
}
