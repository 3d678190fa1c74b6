// Package rights keeps an HTTPApp from being a way around RBAC: this server makes Deployments, Services and autoscalers of it
// with rights of its own, so whoever writes the app must have the right to make them.
package rights

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// PluginName is the plugin's name in the server's flags.
const PluginName = "HTTPAppRights"

// Register makes the plugin known.
func Register(plugins *admission.Plugins) {
	plugins.Register(PluginName, func(io.Reader) (admission.Interface, error) { return newPlugin(), nil })
}

// Kinds finds the resource of a workload's kind.
type Kinds interface {
	Resource(ref v1alpha1.WorkloadReference) (schema.GroupVersionResource, error)
}

// NewInitializer returns what gives the plugin its Kinds.
func NewInitializer(kinds Kinds) admission.PluginInitializer { return kindsInitializer{kinds} }

type kindsInitializer struct{ kinds Kinds }

// Initialize implements admission.PluginInitializer.
func (i kindsInitializer) Initialize(into admission.Interface) {
	if p, ok := into.(*plugin); ok {
		p.kinds = i.kinds
	}
}

// plugin asks the server's authorizer, which asks the host by SubjectAccessReview and remembers the answers for some seconds.
type plugin struct {
	*admission.Handler
	authorizer authorizer.Authorizer
	kinds      Kinds
}

var (
	_ admission.ValidationInterface     = &plugin{}
	_ admission.InitializationValidator = &plugin{}
	_ initializer.WantsAuthorizer       = &plugin{}
)

func newPlugin() *plugin {
	return &plugin{Handler: admission.NewHandler(admission.Create, admission.Update)}
}

// SetAuthorizer implements initializer.WantsAuthorizer.
func (p *plugin) SetAuthorizer(a authorizer.Authorizer) { p.authorizer = a }

// ValidateInitialization implements admission.InitializationValidator.
func (p *plugin) ValidateInitialization() error {
	if p.authorizer == nil || p.kinds == nil {
		return errors.New(PluginName + " needs an authorizer and the kinds of workloads")
	}
	return nil
}

// Validate implements admission.ValidationInterface. A dry run needs the same rights.
//
// A part of the app that is as it was needs no right. So nothing is asked when labels, annotations, finalizers or owners are
// written, as the garbage collector and the namespace controller do, and a user who may not touch Services can still set
// another image if they may update Deployments. The status makes nothing; the scale is a right of its own, as it is for a Deployment.
func (p *plugin) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	app, ok := a.GetObject().(*v1alpha1.HTTPApp)
	if !ok || a.GetSubresource() != "" || a.GetResource().GroupResource() != v1alpha1.Resource("httpapps") {
		return nil
	}
	needs, err := p.needs(app)
	if err != nil {
		return err
	}
	var before []need
	if old, ok := a.GetOldObject().(*v1alpha1.HTTPApp); ok && a.GetOperation() == admission.Update {
		if before, err = p.needs(old); err != nil {
			return err
		}
	}
	var refused []string
	for _, n := range needs {
		verbs := n.verbs
		if was := find(before, n); was != nil {
			if equality.Semantic.DeepEqual(was.from, n.from) {
				continue
			}
			verbs = n.changeVerbs()
		}
		switch allowed, err := p.allowed(ctx, a.GetUserInfo(), n, verbs); {
		case err != nil:
			return apierrors.NewInternalError(fmt.Errorf("asking whether user %q may %s: %w", a.GetUserInfo().GetName(), n.what(verbs), err))
		case !allowed:
			refused = append(refused, fmt.Sprintf("%s, and user %q may not %s in namespace %q", n.why, a.GetUserInfo().GetName(), n.what(verbs), n.namespace))
		}
	}
	if len(refused) > 0 {
		return admission.NewForbidden(a, errors.New(strings.Join(refused, "; ")))
	}
	return nil
}

// allowed reports whether the user has one of the verbs.
func (p *plugin) allowed(ctx context.Context, who user.Info, n need, verbs []string) (bool, error) {
	var failed error
	for _, verb := range verbs {
		attributes := authorizer.AttributesRecord{
			User: who, Verb: verb, Namespace: n.namespace, Name: n.name, ResourceRequest: true,
			APIGroup: n.resource.Group, APIVersion: n.resource.Version, Resource: n.resource.Resource, Subresource: n.subresource,
		}
		if verb == create {
			// As in a request that creates: its path has no name yet.
			attributes.Name = ""
		}
		decision, _, err := p.authorizer.Authorize(ctx, attributes)
		if decision == authorizer.DecisionAllow {
			return true, nil
		}
		failed = errors.Join(failed, err)
	}
	return false, failed
}
