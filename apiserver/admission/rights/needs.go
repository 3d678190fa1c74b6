package rights

import (
	"errors"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/routes"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/workload"
)

const create = "create"

var (
	deployments   = appsv1.SchemeGroupVersion.WithResource("deployments")
	services      = corev1.SchemeGroupVersion.WithResource("services")
	secrets       = corev1.SchemeGroupVersion.WithResource("secrets")
	hpas          = autoscalingv2.SchemeGroupVersion.WithResource("horizontalpodautoscalers")
	scaledObjects = schema.GroupVersionResource{Group: "keda.sh", Version: "v1alpha1", Resource: "scaledobjects"}
	ingresses     = networkingv1.SchemeGroupVersion.WithResource("ingresses")
	httpRoutes    = schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"}
)

// need is a right that a user needs to write an app.
type need struct {
	resource    schema.GroupVersionResource
	subresource string
	namespace   string
	name        string
	// verbs are those of which the user needs one.
	verbs []string
	// from is all of the app that matters for it: while that stays the same, so does what this server makes of it.
	from any
	// why is the first half of a sentence that says it to the user.
	why string
}

// changeVerbs are those of which a user needs one to change what was there before. With either of update and patch they could
// make of the object itself whatever they like, and how the app is written says nothing about which one they have.
func (n need) changeVerbs() []string {
	if n.verbs[0] == create {
		return []string{"update", "patch"}
	}
	return n.verbs
}

// what names the right, as kubectl auth can-i does.
func (n need) what(verbs []string) string {
	resource := n.resource.GroupResource().String()
	if n.subresource != "" {
		resource = n.resource.Resource + "/" + n.subresource
		if n.resource.Group != "" {
			resource += "." + n.resource.Group
		}
	}
	if verbs[0] == create {
		return fmt.Sprintf("create %s", resource)
	}
	return fmt.Sprintf("%s %s %q", strings.Join(verbs, " or "), resource, n.name)
}

// find returns the need of the same right.
func find(needs []need, n need) *need {
	for i := range needs {
		if m := &needs[i]; m.resource == n.resource && m.subresource == n.subresource && m.name == n.name {
			return m
		}
	}
	return nil
}

// needs returns the rights that an app needs. What its pods may do, by a service account or a secret that the template names, is
// not looked at: whoever may create Deployments can give pods as much. Nor is a Service that the app sends its requests to:
// an Ingress does the same.
func (p *plugin) needs(app *v1alpha1.HTTPApp) ([]need, error) {
	spec := &app.Spec
	of := func(resource schema.GroupVersionResource, from any, why string) need {
		return need{resource: resource, namespace: app.Namespace, name: app.Name, verbs: []string{create}, from: from, why: why}
	}
	var needs []need
	if spec.Template != nil {
		needs = append(needs, of(deployments, spec.Template, "an HTTPApp with a template is made into a Deployment"))
	}
	if ref := spec.WorkloadRef; ref != nil {
		resource, err := p.scalable(*ref)
		if err != nil {
			return nil, err
		}
		needs = append(needs, need{
			resource: resource, subresource: "scale", namespace: app.Namespace, name: ref.Name, verbs: []string{"update", "patch"}, from: *ref,
			why: fmt.Sprintf("an HTTPApp scales the %s that its workloadRef names", ref.Kind),
		})
	}
	if spec.ServiceName == "" {
		needs = append(needs, of(services, serviceFrom(spec), "an HTTPApp without a serviceName is made into a Service"))
	}
	scaler := scalerFrom{spec.Scaling, workload.RefOf(app)}
	switch spec.Scaling.Autoscaler {
	case v1alpha1.AutoscalerKEDA:
		needs = append(needs, of(scaledObjects, scaler, "an HTTPApp with the autoscaler KEDA is made into a ScaledObject"))
	case v1alpha1.AutoscalerHPA:
		needs = append(needs, of(hpas, scaler, "an HTTPApp with the autoscaler HPA is made into a HorizontalPodAutoscaler"))
	}
	if tls := spec.TLS; tls != nil {
		needs = append(needs, need{
			resource: secrets, namespace: app.Namespace, name: tls.SecretName, verbs: []string{"get"}, from: tls.SecretName,
			why: "an HTTPApp shows the certificate of the Secret that its tls names",
		})
	}
	if e := spec.Expose; e != nil {
		if e.Ingress != nil {
			backend := of(services, nil, "an HTTPApp with expose.ingress is made into a Service for the Ingress to lead to")
			backend.name = v1alpha1.ExposeServiceName(app.Name)
			needs = append(needs, of(ingresses, exposureFrom{e.Ingress, places(app)}, "an HTTPApp with expose.ingress is made into an Ingress"), backend)
		}
		if e.HTTPRoute != nil {
			needs = append(needs, of(httpRoutes, exposureFrom{e.HTTPRoute, places(app)}, "an HTTPApp with expose.httpRoute is made into an HTTPRoute"))
		}
	}
	return needs, nil
}

// scalable returns the resource of a workload. Of a kind that the host does not know, or not yet, nobody can say which resource
// it will be: who names it must be allowed to scale everything in its group.
func (p *plugin) scalable(ref v1alpha1.WorkloadReference) (schema.GroupVersionResource, error) {
	resource, err := p.kinds.Resource(ref)
	var noScale *workload.NoScaleError
	switch {
	case err == nil:
		return resource, nil
	case errors.As(err, &noScale):
		version, err := schema.ParseGroupVersion(ref.APIVersion)
		if err != nil {
			return schema.GroupVersionResource{}, apierrors.NewBadRequest(err.Error())
		}
		return version.WithResource("*"), nil
	}
	return schema.GroupVersionResource{}, apierrors.NewServiceUnavailable(
		fmt.Sprintf("whether you may scale %s %s cannot be found out, try again: %v", ref.Kind, ref.Name, err))
}

// scalerFrom is what an autoscaler is made from.
type scalerFrom struct {
	Scaling  v1alpha1.Scaling
	Workload v1alpha1.WorkloadReference
}

// exposureFrom is what an Ingress or an HTTPRoute is made from.
type exposureFrom struct {
	Options any
	Places  [][2]string
}

// places are the hosts and path prefixes of an app.
func places(app *v1alpha1.HTTPApp) (all [][2]string) {
	for _, key := range routes.Keys(app) {
		all = append(all, [2]string{key.Host, key.PathPrefix})
	}
	return all
}

// servicePorts is what a Service is made from.
type servicePorts struct {
	Port     *intstr.IntOrString
	Protocol v1alpha1.Protocol
	// Declared are the ports of the template, when the app does not say which one it is.
	Declared []corev1.ContainerPort
	Workload v1alpha1.WorkloadReference
}

func serviceFrom(spec *v1alpha1.HTTPAppSpec) servicePorts {
	from := servicePorts{Port: spec.Port, Protocol: spec.Protocol}
	if spec.WorkloadRef != nil {
		from.Workload = *spec.WorkloadRef
	}
	if spec.Port == nil && spec.Template != nil {
		for _, c := range spec.Template.Spec.Containers {
			from.Declared = append(from.Declared, c.Ports...)
		}
	}
	return from
}
