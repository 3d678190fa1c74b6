package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/routes"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/secrets"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

var (
	roles        = rbacv1.SchemeGroupVersion.WithResource("roles")
	roleBindings = rbacv1.SchemeGroupVersion.WithResource("rolebindings")
)

// secretRole is the name of the Role, and of its binding, by which interceptors read the Secret that an app names.
func secretRole(app *v1alpha1.HTTPApp) string { return "kedahttp-tls-" + app.Name }

// reconcileTLS lets the interceptors read the app's Secret, and nothing else, and says whether it is any good. Without spec.tls there is no
// condition.
func (r *Reconciler) reconcileTLS(ctx context.Context, app *v1alpha1.HTTPApp) (*condition, error) {
	if app.Spec.TLS == nil {
		r.secrets.Set(nameOf(app), "")
		return nil, errors.Join(
			r.removeNamed(ctx, app, roleBindings, secretRole(app), r.roleBindings.GetStore()),
			r.removeNamed(ctx, app, roles, secretRole(app), r.roles.GetStore()))
	}
	secret := app.Spec.TLS.SecretName
	role, binding := r.mayRead(app, secret)
	err := r.apply(ctx, app, roles, role, r.roles.GetStore())
	if err == nil {
		err = r.apply(ctx, app, roleBindings, binding, r.roleBindings.GetStore())
	}
	if err != nil {
		c := no(v1alpha1.ConditionTLSReady, reasonOf(err), err.Error())
		return &c, retry(err)
	}
	r.secrets.Set(nameOf(app), secret)
	now := time.Now()
	c, changes := tlsCondition(secret, r.secrets.Of(nameOf(app)), r.hostsOf(app), now)
	if !changes.IsZero() {
		r.queue.AddAfter(nameOf(app), changes.Sub(now)+time.Second)
	}
	return &c, nil
}

// mayRead is the right to read one Secret. Kubernetes takes a list and a watch by an object's name for a read of that object.
func (r *Reconciler) mayRead(app *v1alpha1.HTTPApp, secret string) (*rbacv1.Role, *rbacv1.RoleBinding) {
	meta := made(app)
	meta.Name = secretRole(app)
	role := &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{corev1.GroupName}, Resources: []string{"secrets"}, ResourceNames: []string{secret}, Verbs: []string{"get", "list", "watch"},
	}}}
	role.APIVersion, role.Kind = rbacv1.SchemeGroupVersion.String(), "Role"
	binding := &rbacv1.RoleBinding{
		ObjectMeta: meta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: r.Interceptor.Namespace, Name: r.Interceptor.Name}},
	}
	binding.APIVersion, binding.Kind = rbacv1.SchemeGroupVersion.String(), "RoleBinding"
	return role, binding
}

// hosts are those of an app's routes: its own, whose certificate is the app's, and by whom they are those on which it only has a part.
type hosts struct {
	own    []string
	others map[string]*v1alpha1.HTTPApp
}

func (r *Reconciler) hostsOf(app *v1alpha1.HTTPApp) hosts {
	h := hosts{others: map[string]*v1alpha1.HTTPApp{}}
	for _, key := range routes.Keys(app) {
		switch owner := r.Owners.HostOwner(key.Host); {
		case owner != nil && nameOf(owner) != nameOf(app):
			h.others[key.Host] = owner
		case !slices.Contains(h.own, key.Host):
			h.own = append(h.own, key.Host)
		}
	}
	return h
}

// tlsCondition says what clients get of the app's certificate, and when that changes by itself, if ever.
func tlsCondition(secret string, state secrets.State, h hosts, now time.Time) (c condition, changes time.Time) {
	const kind = v1alpha1.ConditionTLSReady
	err := state.Err
	if err == nil && state.Certificate != nil {
		changes, err = secrets.Check(secret, state.Certificate, h.own, now)
	}
	var wrong *secrets.Error
	switch {
	case errors.As(err, &wrong) && wrong.Reason == secrets.ReasonNotKnown:
		return notYet(kind, wrong.Reason, wrong.Message), changes
	case errors.As(err, &wrong):
		return no(kind, wrong.Reason, wrong.Message), changes
	case err != nil:
		return no(kind, secrets.ReasonInvalid, err.Error()), changes
	case state.Certificate == nil:
		return notYet(kind, secrets.ReasonNotKnown, fmt.Sprintf("Secret %s has not been read yet", secret)), changes
	}
	var plain []string
	for host, owner := range h.others {
		if owner.Spec.TLS == nil {
			plain = append(plain, fmt.Sprintf("%s belongs to app %s, which has the broader route there and no spec.tls", host, nameOf(owner)))
		}
	}
	if len(plain) > 0 {
		slices.Sort(plain)
		return no(kind, "HostOfAnother", strings.Join(plain, "; ")+": name a Secret in spec.tls of that app, whose certificate clients get"), changes
	}
	return yes(kind, "Served", fmt.Sprintf("clients get the certificate in Secret %s, which is valid until %s", secret, state.Certificate.Leaf.NotAfter.UTC().Format(time.RFC3339))), changes
}
