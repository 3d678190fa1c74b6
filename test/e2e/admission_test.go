//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// grant gives somebody a role in the user's namespace and waits until the cluster knows of it.
func (u user) grant(somebody, role string, rules ...[2]string) {
	u.Helper()
	for i, rule := range rules {
		name := fmt.Sprintf("%s-%d", role, i)
		u.kubectl("create", "role", name, "--verb="+rule[0], "--resource="+rule[1])
		u.kubectl("create", "rolebinding", name+"-"+somebody, "--role="+name, "--user="+somebody)
		verb, _, _ := strings.Cut(rule[0], ",")
		resource, _, _ := strings.Cut(rule[1], ",")
		u.may(somebody, verb, resource)
	}
}

// may waits until the cluster lets somebody do something.
func (u user) may(somebody, verb, resource string) {
	u.Helper()
	args := []string{"auth", "can-i", verb, resource, "--as=" + somebody}
	if name, sub, ok := strings.Cut(resource, "/"); ok {
		args = []string{"auth", "can-i", verb, name, "--subresource=" + sub, "--as=" + somebody}
	}
	u.eventually(soon, somebody+" may "+verb+" "+resource, func() error {
		_, err := u.try("", args...)
		return err
	})
}

// refused expects an error that says all of it.
func (u user) refused(err error, says ...string) {
	u.Helper()
	if err == nil {
		u.Error("it was accepted")
		return
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			u.Errorf("it is not said that %q: %v", s, err)
		}
	}
}

const (
	allVerbs = "get,list,watch,create,update,patch,delete"
	httpapps = "httpapps.apps.http.keda.sh"
)

// An app is made with this project's rights, so whoever makes one must have them, too.
func TestAnAppIsNoWayAroundRBAC(t *testing.T) {
	u := newUser(t)
	u.grant("jane", "apps-only", [2]string{allVerbs, httpapps})
	u.grant("joe", "maker", [2]string{allVerbs, httpapps}, [2]string{"create", "deployments.apps,services"}, [2]string{"create", "scaledobjects.keda.sh"})
	app := manifest("made", container)
	missing := []string{
		"Forbidden", `httpapps.apps.http.keda.sh "made" is forbidden`,
		`made into a Deployment, and user "jane" may not create deployments.apps in namespace "` + u.namespace + `"`,
		`made into a Service, and user "jane" may not create services in`,
		`made into a ScaledObject, and user "jane" may not create scaledobjects.keda.sh in`,
	}
	for _, flags := range [][]string{nil, {"--server-side"}, {"--dry-run=server"}} {
		_, err := u.try(app, append([]string{"apply", "-f", "-", "--as=jane"}, flags...)...)
		u.refused(err, missing...)
	}
	if out := u.kubectl("get", "httpapps"); out != "" {
		t.Errorf("a refused app was stored:\n%s", out)
	}

	u.apply(app, "--as=joe")
	u.routed("made")
	// What makes nothing else than there is needs no right beyond that on the app.
	u.kubectl("label", "httpapp", "made", "team=web", "--as=jane")
	u.kubectl("patch", "httpapp", "made", "--type=merge", "--patch", `{"spec":{"queue":{"maxPending":7}}}`, "--as=jane")
	_, err := u.try("", "patch", "httpapp", "made", "--type=json", "--as=joe",
		"--patch", `[{"op":"add","path":"/spec/template/spec/containers/0/env","value":[{"name":"A","value":"1"}]}]`)
	u.refused(err, `user "joe" may not update or patch deployments.apps "made"`)
	_, err = u.try("", "patch", "httpapp", "made", "--type=merge", "--patch", `{"spec":{"scaling":{"maxReplicas":3}}}`, "--as=joe")
	u.refused(err, `user "joe" may not update or patch scaledobjects.keda.sh "made"`)
	_, err = u.try("", "patch", "httpapp", "made", "--type=merge", "--patch", `{"spec":{"tls":{"secretName":"cert"}}}`, "--as=joe")
	u.refused(err, `user "joe" may not get secrets "cert"`)
	_, err = u.try(manifest("taker", "  workloadRef: {apiVersion: apps/v1, kind: Deployment, name: made}", "  port: 8080"), "create", "-f", "-", "--as=joe")
	u.refused(err, `user "joe" may not update or patch deployments/scale.apps "made"`)
	u.grant("joan", "scales", [2]string{allVerbs, httpapps}, [2]string{"update", "deployments.apps/scale"}, [2]string{"create", "services"})
	if _, err := u.try(manifest("taker", "  workloadRef: {apiVersion: apps/v1, kind: Deployment, name: made}", "  port: 8080", "  scaling: {autoscaler: None}"),
		"create", "-f", "-", "--as=joan", "--dry-run=server"); err != nil {
		t.Error(err)
	}
	u.kubectl("delete", "httpapp", "made", "--as=jane")
}

func TestViewReadsAppsAndEditWritesThem(t *testing.T) {
	u := newUser(t)
	for _, role := range []string{"view", "edit", "admin"} {
		u.kubectl("create", "rolebinding", role, "--clusterrole="+role, "--user="+role+"er")
	}
	u.may("viewer", "get", httpapps)
	u.may("editer", "create", httpapps)
	u.may("adminer", "create", httpapps)
	app := manifest("roles", container)
	_, err := u.try(app, "create", "-f", "-", "--as=viewer")
	u.refused(err, "Forbidden", "viewer")
	u.apply(app, "--as=editer")
	u.routed("roles")
	u.kubectl("get", "httpapps", "--as=viewer")
	u.kubectl("get", "httpapp", "roles", "--subresource=scale", "--as=viewer")
	for _, write := range [][]string{
		{"label", "httpapp", "roles", "a=b"}, {"scale", "httpapp/roles", "--replicas=1"}, {"delete", "httpapp", "roles"},
		{"patch", "httpapp", "roles", "--subresource=status", "--type=merge", "--patch", `{"status":{"url":"http://made.up"}}`},
	} {
		_, err := u.try("", append(write, "--as=viewer")...)
		u.refused(err, "Forbidden", "viewer")
	}
	_, err = u.try("", "patch", "httpapp", "roles", "--subresource=status", "--type=merge", "--patch", `{"status":{"url":"http://made.up"}}`, "--as=editer")
	u.refused(err, "Forbidden", "editer")
	u.apply(manifest("roles", container, "  scaling: {maxReplicas: 3}"), "--as=editer")
	u.kubectl("scale", "httpapp/roles", "--replicas=1", "--as=editer")
	u.apply(manifest("roles", container, "  scaling: {maxReplicas: 4, autoscaler: HPA}"), "--as=adminer")
	u.kubectl("delete", "httpapp", "roles", "--as=editer")
}

func TestTheInterceptorMayWriteNothing(t *testing.T) {
	beside(t)
	u := user{T: t}
	const interceptor = "--as=system:serviceaccount:kedahttp-system:kedahttp-interceptor"
	for _, namespace := range []string{"default", "kedahttp-system"} {
		list := u.kubectl("auth", "can-i", "--list", interceptor, "-n", namespace, "--no-headers")
		if !strings.Contains(list, "httpapprecords") {
			t.Fatalf("it may not even read what it routes:\n%s", list)
		}
		for line := range strings.Lines(list) {
			// What everybody may do: ask about themselves.
			if strings.HasPrefix(line, "self") {
				continue
			}
			verbs := line[strings.LastIndex(line, "[")+1:]
			for _, verb := range []string{"create", "update", "patch", "delete", "*"} {
				if strings.Contains(verbs, verb) {
					t.Errorf("in %s: %s", namespace, line)
				}
			}
		}
	}
}

func TestQuotasCountApps(t *testing.T) {
	u := newUser(t)
	const hard, idle = "count/" + httpapps, "  scaling: {autoscaler: None}"
	status := func(part, want string) {
		t.Helper()
		u.eventually(later, part+" "+want, func() error {
			return u.field("resourcequota/apps", `{.status.`+part+`.count/httpapps\.apps\.http\.keda\.sh}`, want)
		})
	}
	u.kubectl("create", "quota", "apps", "--hard="+hard+"=1")
	status("used", "0")
	u.apply(manifest("first", container, idle))
	status("used", "1")
	_, err := u.try(manifest("second", container, idle), "create", "-f", "-")
	u.refused(err, "Forbidden", "exceeded quota: apps", "requested: "+hard+"=1", "used: "+hard+"=1", "limited: "+hard+"=1")
	_, err = u.try(manifest("second", container, idle), "create", "-f", "-", "--dry-run=server")
	u.refused(err, "exceeded quota")
	// A change counts nothing.
	u.kubectl("label", "httpapp", "first", "a=b")
	u.kubectl("delete", "httpapp", "first")
	status("used", "0")

	// Whichever replicas of the server they meet, no more than there may be get in.
	u.kubectl("patch", "quota", "apps", "--type=merge", "--patch", `{"spec":{"hard":{"`+hard+`":"2"}}}`)
	status("hard", "2")
	var wg sync.WaitGroup
	errs := make([]error, 5)
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = u.try(manifest(fmt.Sprintf("app-%d", i), container, idle), "create", "-f", "-")
		})
	}
	wg.Wait()
	accepted := 0
	for _, err := range errs {
		if err == nil {
			accepted++
		} else {
			u.refused(err, "exceeded quota")
		}
	}
	if accepted != 2 {
		t.Errorf("%d of 5 apps were accepted where 2 may be: %v", accepted, errors.Join(errs...))
	}
	status("used", "2")
}

// The host admits the pods, as it admits everybody's; the app says what became of that.
func TestPodsThatTheHostRefusesShowInTheAppsConditions(t *testing.T) {
	u := newUser(t)
	u.kubectl("label", "namespace", u.namespace, "pod-security.kubernetes.io/enforce=restricted")
	const scaling = "  scaling: {autoscaler: None, minReplicas: 1}"
	u.apply(manifest("loose", container, scaling))
	u.apply(manifest("strict", container+`
        securityContext: {runAsNonRoot: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}`, scaling))
	u.eventually(soon, "the reason in the app's conditions", func() error {
		return u.field("httpapp/loose", `{.status.conditions[?(@.type=="WorkloadReady")].status} {.status.conditions[?(@.type=="WorkloadReady")].reason}`, "False FailedCreate")
	})
	if says := u.kubectl("get", "httpapp", "loose", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].message}`); !strings.Contains(says, `violates PodSecurity "restricted`) {
		t.Errorf("the app is not ready because of %q", says)
	}
	u.routed("strict")
	if _, err := u.get("strict", "/"); err != nil {
		t.Error(err)
	}
}

func TestARouteThatIsTakenIsSaidAtOnce(t *testing.T) {
	u := newUser(t)
	const idle = "  scaling: {autoscaler: None}"
	u.apply(manifest("older", container, idle))
	u.routed("older")
	younger := manifest("younger", container, idle, "  routes: [{hosts: ["+u.host("older")+"]}]")
	// kubectl fails because of the warning alone: the app is accepted.
	_, err := u.try(younger, "create", "-f", "-", "--warnings-as-errors")
	u.refused(err, "spec.routes: "+u.host("older")+"/ belongs to the older app "+u.namespace+"/older")
	u.kubectl("get", "httpapp", "younger")
	u.kubectl("patch", "httpapp", "younger", "--type=merge", "--patch", `{"spec":{"routes":[{"hosts":["`+u.host("younger")+`"]}]}}`, "--warnings-as-errors")
	_, err = u.try("", "patch", "httpapp", "younger", "--type=merge", "--patch", `{"spec":{"routes":[{"hosts":["`+u.host("older")+`"]}]}}`, "--warnings-as-errors")
	u.refused(err, "belongs to the older app")
}

// What an administrator wants of objects is asked of apps as of all others, on hosts that can ask it.
func TestPoliciesOfTheClusterHoldForApps(t *testing.T) {
	u := newUser(t)
	match := `  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ` + u.namespace + `}}
    resourceRules: [{apiGroups: [apps.http.keda.sh], apiVersions: [v1alpha1], operations: [CREATE, UPDATE], resources: [httpapps]}]
`
	policy := func(kind, version, spec, binding string) {
		t.Cleanup(func() {
			_, _ = user{T: t}.try("", "delete", strings.ToLower(kind)+","+strings.ToLower(kind)+"binding", u.namespace, "--ignore-not-found", "--wait=false")
		})
		u.apply(`apiVersion: admissionregistration.k8s.io/` + version + `
kind: ` + kind + `
metadata: {name: ` + u.namespace + `}
spec:
` + match + spec + `---
apiVersion: admissionregistration.k8s.io/` + version + `
kind: ` + kind + `Binding
metadata: {name: ` + u.namespace + `}
spec: {policyName: ` + u.namespace + binding + `}
`)
	}
	policy("ValidatingAdmissionPolicy", "v1", `  validations:
  - expression: object.spec.scaling.maxReplicas <= 5
    message: more than five replicas are too dear
`, ", validationActions: [Deny]")
	const dear = "more than five replicas are too dear"
	u.eventually(soon, "an app that is too dear refused", func() error {
		out := u.said(small("dear"), "create", "-f", "-", "--dry-run=server")
		if !strings.Contains(out, dear) { // small has the default, which is 10
			return fmt.Errorf("create says %s", out)
		}
		return nil
	})
	cheap := strings.Replace(small("cheap"), "{autoscaler: None}", "{autoscaler: None, maxReplicas: 5}", 1)
	u.eventually(soon, "an app that is not too dear", func() error {
		_, err := u.try(cheap, "apply", "-f", "-")
		return err
	})
	u.eventually(soon, "a change that makes it dear refused", func() error { // by each of the servers, which hear of policies by themselves
		if out := u.said("", "patch", "httpapp", "cheap", "--type=merge", "-p", `{"spec":{"scaling":{"maxReplicas":6}}}`, "--dry-run=server"); !strings.Contains(out, dear) {
			return fmt.Errorf("patch says %s", out)
		}
		return nil
	})

	if out := u.kubectl("api-resources", "--api-group=admissionregistration.k8s.io"); !regexp.MustCompile(`mutatingadmissionpolicies\s+admissionregistration.k8s.io/v1\s`).MatchString(out) {
		t.Log("this host has no policies that change objects")
		return
	}
	policy("MutatingAdmissionPolicy", "v1", `  reinvocationPolicy: Never
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration: {expression: 'Object{metadata: Object.metadata{labels: {"paid-by": "somebody"}}}'}
`, "")
	other := strings.Replace(cheap, "name: cheap", "name: changed", 1)
	u.eventually(soon, "an app changed by a policy", func() error {
		out, err := u.try(other, "create", "-f", "-", "--dry-run=server", "-o", "jsonpath={.metadata.labels.paid-by}")
		if err == nil && out != "somebody" {
			err = fmt.Errorf("it is paid by %q", out)
		}
		return err
	})
}
