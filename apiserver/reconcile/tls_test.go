package reconcile

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/routes"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/secrets"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/secrets/secretstest"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

func TestTheConditionSaysWhatClientsGetOfTheCertificate(t *testing.T) {
	now := time.Now()
	made := secretstest.NewAuthority(t).SecretFrom("default", "cert", now.Add(-time.Hour), now.Add(time.Hour), "shop.test", "*.wild.test")
	certificate, err := tls.X509KeyPair(made.Data[corev1.TLSCertKey], made.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		t.Fatal(err)
	}
	good := secrets.State{Certificate: &certificate}
	plain, secure := &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "front"}}, &v1alpha1.HTTPApp{}
	secure.Spec.TLS = &v1alpha1.TLS{}
	for name, c := range map[string]struct {
		state   secrets.State
		hosts   hosts
		at      time.Time
		status  metav1.ConditionStatus
		reason  string
		says    string
		changes bool
	}{
		"all well":                       {good, hosts{own: []string{"shop.test", "*.wild.test"}}, now, metav1.ConditionTrue, "Served", "valid until", true},
		"a part of another's host":       {good, hosts{own: []string{"shop.test"}, others: map[string]*v1alpha1.HTTPApp{"b.test": secure}}, now, metav1.ConditionTrue, "Served", "", true},
		"another has no certificate":     {good, hosts{own: []string{"shop.test"}, others: map[string]*v1alpha1.HTTPApp{"b.test": plain}}, now, metav1.ConditionFalse, "HostOfAnother", "b.test belongs to app default/front", true},
		"not for the host":               {good, hosts{own: []string{"cart.test"}}, now, metav1.ConditionFalse, secrets.ReasonNotCovered, "not for cart.test", true},
		"expired":                        {good, hosts{own: []string{"shop.test"}}, now.Add(2 * time.Hour), metav1.ConditionFalse, secrets.ReasonExpired, "expired", false},
		"there is none":                  {secrets.State{Err: &secrets.Error{Reason: secrets.ReasonNotFound, Message: "make it"}}, hosts{}, now, metav1.ConditionFalse, secrets.ReasonNotFound, "make it", false},
		"a good one that became broken":  {secrets.State{Certificate: &certificate, Err: &secrets.Error{Reason: secrets.ReasonInvalid, Message: "mend it"}}, hosts{}, now, metav1.ConditionFalse, secrets.ReasonInvalid, "mend it", false},
		"it has not been read":           {secrets.State{Err: &secrets.Error{Reason: secrets.ReasonNotKnown, Message: "wait"}}, hosts{}, now, metav1.ConditionUnknown, secrets.ReasonNotKnown, "wait", false},
		"nobody has begun to look at it": {secrets.State{}, hosts{}, now, metav1.ConditionUnknown, secrets.ReasonNotKnown, "cert", false},
	} {
		t.Run(name, func(t *testing.T) {
			got, changes := tlsCondition("cert", c.state, c.hosts, c.at)
			if got.status != c.status || got.reason != c.reason || !strings.Contains(got.message, c.says) {
				t.Errorf("it is %s because %s: %s", got.status, got.reason, got.message)
			}
			if changes.IsZero() == c.changes {
				t.Errorf("it changes at %s", changes)
			}
		})
	}
}

func TestAnAppsURLBeginsWithHTTPSWhenThatIsServed(t *testing.T) {
	app := &v1alpha1.HTTPApp{Spec: v1alpha1.HTTPAppSpec{Routes: []v1alpha1.Route{{Hosts: []string{"shop.test"}, PathPrefix: "/a"}}}}
	for _, c := range []struct {
		port, tlsPort int
		secure        bool
		want          string
	}{
		{80, 443, false, "http://shop.test/a"},
		{80, 443, true, "https://shop.test/a"},
		{8080, 8443, true, "https://shop.test:8443/a"},
		{8080, 0, true, "http://shop.test:8080/a"},
	} {
		r := &Reconciler{Config: Config{PublicPort: c.port, PublicTLSPort: c.tlsPort}}
		if got := r.url(app, c.secure); got != c.want {
			t.Errorf("%s, not %s", got, c.want)
		}
	}
}

func TestInterceptorsMayReadTheSecretOfTheAppAndNoOther(t *testing.T) {
	r := &Reconciler{Config: Config{Interceptor: types.NamespacedName{Namespace: "system", Name: "interceptor"}}}
	app := &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "shop", UID: "1"}}
	role, binding := r.mayRead(app, "cert")
	if len(role.Rules) != 1 || len(role.Rules[0].ResourceNames) != 1 || role.Rules[0].ResourceNames[0] != "cert" || strings.Join(role.Rules[0].Verbs, " ") != "get list watch" {
		t.Errorf("the role is %v", role.Rules)
	}
	if binding.RoleRef.Name != role.Name || len(binding.Subjects) != 1 || binding.Subjects[0].Namespace != "system" || binding.Subjects[0].Name != "interceptor" {
		t.Errorf("the binding is %v", binding)
	}
	if !owned(role, app) || !owned(binding, app) {
		t.Error("they would stay when the app is deleted")
	}
}

func TestAnAppsHostsAreThoseOfWhichItHasTheBroadestRoute(t *testing.T) {
	app := func(name string, age int64, routes ...v1alpha1.Route) *v1alpha1.HTTPApp {
		return &v1alpha1.HTTPApp{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, CreationTimestamp: metav1.Unix(1000-age, 0)}, Spec: v1alpha1.HTTPAppSpec{Routes: routes},
		}
	}
	index := known{routes.NewIndex()}
	r := &Reconciler{Config: Config{Owners: index}}
	front := app("front", 1, v1alpha1.Route{Hosts: []string{"shop.test"}})
	api := app("api", 2, v1alpha1.Route{Hosts: []string{"shop.test", "api.test"}, PathPrefix: "/api"}, v1alpha1.Route{Hosts: []string{"API.test"}, PathPrefix: "/v2"})
	index.Set(front)
	index.Set(api)
	h := r.hostsOf(api)
	if strings.Join(h.own, " ") != "api.test" || len(h.others) != 1 || h.others["shop.test"] != front {
		t.Errorf("api's are %v and of others %v", h.own, h.others)
	}
	if h := r.hostsOf(front); strings.Join(h.own, " ") != "shop.test" || len(h.others) != 0 {
		t.Errorf("front's are %v and of others %v", h.own, h.others)
	}
}
