package plugin

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubectl/pkg/polymorphichelpers"
	deploymentutil "k8s.io/kubectl/pkg/util/deployment"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// revision is one version of an app's pods.
type revision struct {
	Revision int64     `json:"revision"`
	Images   []string  `json:"images"`
	Created  time.Time `json:"created"`
	// Current says that new pods are of this revision.
	Current  bool                    `json:"current"`
	Cause    string                  `json:"cause,omitempty"`
	Template *corev1.PodTemplateSpec `json:"template,omitempty"`
}

// revisions are those of the app's workload, oldest first.
func (c *clients) revisions(ctx context.Context, app *v1alpha1.HTTPApp) (all []revision, err error) {
	switch ref := workloadOf(app); {
	case ref.APIVersion == "apps/v1" && ref.Kind == "Deployment":
		all, err = c.revisionsOfDeployment(ctx, app.Namespace, ref.Name)
	case ref.APIVersion == "apps/v1" && ref.Kind == "StatefulSet":
		all, err = c.revisionsOfStatefulSet(ctx, app.Namespace, ref.Name)
	default:
		return nil, fmt.Errorf("the app adopted the %s %s of %s; only of Deployments and StatefulSets does Kubernetes keep revisions", ref.Kind, ref.Name, ref.APIVersion)
	}
	if err != nil {
		return nil, goneIf(app, err)
	}
	slices.SortFunc(all, func(a, b revision) int { return cmp.Compare(a.Revision, b.Revision) })
	return all, nil
}

func (c *clients) revisionsOfDeployment(ctx context.Context, namespace, name string) ([]revision, error) {
	deployment, err := c.kubernetes.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	current, err := deploymentutil.Revision(deployment)
	if err != nil {
		return nil, err
	}
	selector, err := metav1.LabelSelectorAsSelector(deployment.Spec.Selector)
	if err != nil {
		return nil, err
	}
	sets, err := c.kubernetes.AppsV1().ReplicaSets(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
	if err != nil {
		return nil, err
	}
	var all []revision
	for i := range sets.Items {
		if set := &sets.Items[i]; metav1.IsControlledBy(set, deployment) {
			n, err := deploymentutil.Revision(set)
			if err != nil {
				return nil, fmt.Errorf("ReplicaSet %s: %w", set.Name, err)
			}
			all = append(all, revisionOf(&set.ObjectMeta, &set.Spec.Template, n, n == current))
		}
	}
	return all, nil
}

func (c *clients) revisionsOfStatefulSet(ctx context.Context, namespace, name string) ([]revision, error) {
	set, err := c.kubernetes.AppsV1().StatefulSets(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		return nil, err
	}
	kept, err := c.kubernetes.AppsV1().ControllerRevisions(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
	if err != nil {
		return nil, err
	}
	var all []revision
	for i := range kept.Items {
		one := &kept.Items[i]
		if !metav1.IsControlledBy(one, set) {
			continue
		}
		// It is a patch that replaces the template by this one.
		var data struct{ Spec appsv1.StatefulSetSpec }
		if err := json.Unmarshal(one.Data.Raw, &data); err != nil {
			return nil, fmt.Errorf("ControllerRevision %s: %w", one.Name, err)
		}
		all = append(all, revisionOf(&one.ObjectMeta, &data.Spec.Template, one.Revision, one.Name == set.Status.UpdateRevision))
	}
	return all, nil
}

// revisionOf is the revision that Kubernetes keeps in an object.
func revisionOf(kept *metav1.ObjectMeta, template *corev1.PodTemplateSpec, n int64, current bool) revision {
	r := revision{
		Revision: n, Created: kept.CreationTimestamp.UTC(), Current: current,
		Cause: kept.Annotations[polymorphichelpers.ChangeCauseAnnotation], Template: template.DeepCopy(),
	}
	if at, err := time.Parse(time.RFC3339, r.Template.Annotations[restartedAt]); r.Cause == "" && err == nil {
		r.Cause = "restarted at " + at.Format(time.DateTime)
	}
	// What the Deployment and the API server have added.
	delete(r.Template.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	delete(r.Template.Labels, v1alpha1.AppLabel)
	for _, container := range r.Template.Spec.Containers {
		r.Images = append(r.Images, container.Image)
	}
	return r
}
