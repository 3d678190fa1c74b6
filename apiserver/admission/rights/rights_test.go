package rights

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/workload"
)

// grants are what a user may do, as "verb resource.group/subresource/name"; it remembers what it was asked.
type grants struct {
	may   []string
	asked []string
	err   error
}

func (g *grants) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	right := a.GetVerb() + " " + a.GetResource()
	for _, part := range []string{a.GetSubresource(), a.GetName()} {
		if part != "" {
			right += "/" + part
		}
	}
	g.asked = append(g.asked, right)
	if a.GetUser().GetName() != "jane" || a.GetNamespace() != "shop" || !a.IsResourceRequest() {
		return authorizer.DecisionDeny, "", errors.New("asked for somebody else, or elsewhere")
	}
	if slices.Contains(g.may, right) {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", g.err
}

type kinds struct{}

func (kinds) Resource(ref v1alpha1.WorkloadReference) (schema.GroupVersionResource, error) {
	switch ref.Kind {
	case "StatefulSet":
		return schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}, nil
	case "Unreachable":
		return schema.GroupVersionResource{}, errors.New("no answer")
	}
	return schema.GroupVersionResource{}, &workload.NoScaleError{Ref: ref, Why: "there is no such kind"}
}

func app(change ...func(*v1alpha1.HTTPApp)) *v1alpha1.HTTPApp {
	a := &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	a.Spec.Template = &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{
		{Name: "app", Image: "web:1", Ports: []corev1.ContainerPort{{ContainerPort: 8080}}},
	}}}
	v1alpha1.SetObjectDefaults_HTTPApp(a)
	for _, c := range change {
		c(a)
	}
	return a
}

func adopting(kind, name string) func(*v1alpha1.HTTPApp) {
	return func(a *v1alpha1.HTTPApp) {
		a.Spec.Template, a.Spec.WorkloadRef = nil, &v1alpha1.WorkloadReference{APIVersion: "apps/v1", Kind: kind, Name: name}
	}
}

func image(a *v1alpha1.HTTPApp)     { a.Spec.Template.Spec.Containers[0].Image = "web:2" }
func port(a *v1alpha1.HTTPApp)      { a.Spec.Port = ptr.To(intstr.FromInt32(8080)) }
func most(a *v1alpha1.HTTPApp)      { a.Spec.Scaling.MaxReplicas = ptr.To[int32](50) }
func unscaled(a *v1alpha1.HTTPApp)  { a.Spec.Scaling.Autoscaler = v1alpha1.AutoscalerNone }
func byHPA(a *v1alpha1.HTTPApp)     { a.Spec.Scaling.Autoscaler = v1alpha1.AutoscalerHPA }
func served(a *v1alpha1.HTTPApp)    { a.Spec.ServiceName = "other" }
func encrypted(a *v1alpha1.HTTPApp) { a.Spec.TLS = &v1alpha1.TLS{SecretName: "cert"} }
func let(a *v1alpha1.HTTPApp)       { a.Spec.Expose = &v1alpha1.Expose{Ingress: &v1alpha1.ExposeIngress{}} }
func gated(a *v1alpha1.HTTPApp) {
	a.Spec.Expose = &v1alpha1.Expose{HTTPRoute: &v1alpha1.ExposeHTTPRoute{ParentRefs: []v1alpha1.GatewayReference{{Name: "public"}}}}
}
func routed(a *v1alpha1.HTTPApp) {
	a.Spec.Routes = []v1alpha1.Route{{Hosts: []string{"b.example.com"}}}
}
func labelled(a *v1alpha1.HTTPApp) {
	a.Labels, a.Finalizers, a.Status.URL = map[string]string{"a": "b"}, []string{"example.com/f"}, "http://b"
}

func TestWhoWritesAnAppMustHaveTheRightToMakeWhatItIsMadeInto(t *testing.T) {
	const deployment, service, scaledObject = "create deployments", "create services", "create scaledobjects"
	for name, c := range map[string]struct {
		before, app *v1alpha1.HTTPApp
		// needs are the rights that suffice, and each of which is needed.
		needs []string
	}{
		"a new app":                               {nil, app(), []string{deployment, service, scaledObject}},
		"a new app with an HPA":                   {nil, app(byHPA), []string{deployment, service, "create horizontalpodautoscalers"}},
		"a new app that nobody scales":            {nil, app(unscaled), []string{deployment, service}},
		"a new app with a Service that there is":  {nil, app(served), []string{deployment, scaledObject}},
		"a new app with a certificate":            {nil, app(encrypted), []string{deployment, service, scaledObject, "get secrets/cert"}},
		"a new app that adopts":                   {nil, app(adopting("StatefulSet", "db")), []string{"update statefulsets/scale/db", service, scaledObject}},
		"patch is as good as update":              {nil, app(adopting("StatefulSet", "db")), []string{"patch statefulsets/scale/db", service, scaledObject}},
		"adopting what the host does not know":    {nil, app(adopting("Nothing", "x")), []string{"update */scale/x", service, scaledObject}},
		"nothing changes":                         {app(), app(), nil},
		"labels, finalizers and status":           {app(), app(labelled), nil},
		"routes":                                  {app(), app(routed), nil},
		"another image":                           {app(), app(image), []string{"update deployments/web"}},
		"another image by somebody who may patch": {app(), app(image), []string{"patch deployments/web"}},
		"a port":                              {app(), app(port), []string{"update services/web"}},
		"another bound":                       {app(), app(most), []string{"update scaledobjects/web"}},
		"another bound, which nobody acts on": {app(unscaled), app(unscaled, most), nil},
		"another autoscaler":                  {app(), app(byHPA), []string{"create horizontalpodautoscalers"}},
		"no autoscaler any more":              {app(), app(unscaled), nil},
		"another's Service":                   {app(), app(served), nil},
		"a Service of its own again":          {app(served), app(), []string{service}},
		"a certificate":                       {app(), app(encrypted), []string{"get secrets/cert"}},
		"routes beside a certificate":         {app(encrypted), app(encrypted, routed), nil},
		"an Ingress":                          {app(served), app(served, let), []string{"create ingresses", service}},
		"an HTTPRoute":                        {app(), app(gated), []string{"create httproutes"}},
		"routes behind an Ingress":            {app(let), app(let, routed), []string{"update ingresses/web"}},
		"routes behind an HTTPRoute":          {app(gated), app(gated, routed), []string{"patch httproutes/web"}},
		"another image behind an Ingress":     {app(routed, let), app(routed, let, image), []string{"update deployments/web"}},
		"no Ingress any more":                 {app(let), app(), nil},
		"adopting another workload": {app(adopting("StatefulSet", "db"), unscaled, served), app(adopting("StatefulSet", "cache"), unscaled, served),
			[]string{"update statefulsets/scale/cache"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, dryRun := range []bool{false, true} {
				if err := write(&grants{may: c.needs}, c.before, c.app, dryRun); err != nil {
					t.Errorf("dry run %v: with the rights %v it is refused: %v", dryRun, c.needs, err)
				}
				for i, needed := range c.needs {
					g := &grants{may: slices.Delete(slices.Clone(c.needs), i, i+1)}
					if err := write(g, c.before, c.app, dryRun); !apierrors.IsForbidden(err) {
						t.Errorf("dry run %v: without the right to %s it ends with %v", dryRun, needed, err)
					}
				}
			}
			if g := (&grants{}); len(c.needs) == 0 {
				if _ = write(g, c.before, c.app, false); len(g.asked) > 0 {
					t.Errorf("it asked for %v and needs nothing", g.asked)
				}
			}
		})
	}
}

func TestARefusalNamesTheUserTheVerbTheResourceAndTheReason(t *testing.T) {
	err := write(&grants{}, nil, app(encrypted), false)
	for _, want := range []string{
		`httpapps.apps.http.keda.sh "web" is forbidden: `,
		`an HTTPApp with a template is made into a Deployment, and user "jane" may not create deployments.apps in namespace "shop"`,
		`an HTTPApp without a serviceName is made into a Service, and user "jane" may not create services in namespace "shop"`,
		`made into a ScaledObject, and user "jane" may not create scaledobjects.keda.sh in namespace "shop"`,
		`and user "jane" may not get secrets "cert" in namespace "shop"`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	err = write(&grants{}, nil, app(adopting("StatefulSet", "db")), false)
	if want := `an HTTPApp scales the StatefulSet that its workloadRef names, and user "jane" may not update or patch statefulsets/scale.apps "db" in namespace "shop"`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v does not say %q", err, want)
	}
}

func TestWithoutAnAnswerNothingIsAllowed(t *testing.T) {
	if err := write(&grants{err: errors.New("no answer")}, nil, app(), false); !apierrors.IsInternalError(err) {
		t.Errorf("with an authorizer that fails: %v", err)
	}
	if err := write(&grants{}, nil, app(adopting("Unreachable", "x")), false); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("without discovery: %v", err)
	}
}

func TestStatusScaleAndOtherResourcesAreLeftAlone(t *testing.T) {
	for _, sub := range []string{"status", "scale"} {
		g := &grants{}
		p := newPlugin()
		p.SetAuthorizer(g)
		NewInitializer(kinds{}).Initialize(p)
		a := attributes(app(), app(image), sub, false)
		if err := p.Validate(t.Context(), a, nil); err != nil || len(g.asked) > 0 {
			t.Errorf("%s: %v, and asked for %v", sub, err, g.asked)
		}
	}
}

func write(g *grants, before, app *v1alpha1.HTTPApp, dryRun bool) error {
	p := newPlugin()
	p.SetAuthorizer(g)
	NewInitializer(kinds{}).Initialize(p)
	if err := p.ValidateInitialization(); err != nil {
		return err
	}
	return p.Validate(context.Background(), attributes(before, app, "", dryRun), nil)
}

func attributes(before, app *v1alpha1.HTTPApp, subresource string, dryRun bool) admission.Attributes {
	operation, old := admission.Create, runtime.Object(nil)
	if before != nil {
		operation, old = admission.Update, before
	}
	return admission.NewAttributesRecord(app, old, v1alpha1.SchemeGroupVersion.WithKind("HTTPApp"), app.Namespace, app.Name,
		v1alpha1.SchemeGroupVersion.WithResource("httpapps"), subresource, operation, nil, dryRun, &user.DefaultInfo{Name: "jane"})
}
