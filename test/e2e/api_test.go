//go:build e2e

package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// manifest is an app as a user would write it, with a place for more lines of spec.
func manifest(name string, spec ...string) string {
	lines := append([]string{
		"apiVersion: apps.http.keda.sh/v1alpha1",
		"kind: HTTPApp",
		"metadata:",
		"  name: " + name,
		"spec:",
	}, spec...)
	return strings.Join(lines, "\n") + "\n"
}

const container = `  template:
    spec:
      containers:
      - name: app
        image: kedahttp/test-echo:dev
        imagePullPolicy: Never
        ports: [{containerPort: 8080, name: web}]`

func TestScaleGoesToTheWorkload(t *testing.T) {
	u := newUser(t)
	u.apply(manifest("scaled", container, "  scaling: {autoscaler: None, maxReplicas: 3}"))
	u.routed("scaled")

	u.kubectl("scale", "httpapp/scaled", "--replicas=2")
	if err := u.field("deployment/scaled", "{.spec.replicas}", "2"); err != nil {
		t.Fatalf("what scale wrote should be in the workload when it returns: %v", err)
	}
	u.kubectl("scale", "httpapp/scaled", "--current-replicas=2", "--replicas=1")
	u.waitReplicas("scaled", 1, soon)
	// As of a Deployment that is scaled by itself.
	managers := u.kubectl("get", "deployment", "scaled", "--show-managed-fields", "-o", `jsonpath={.metadata.managedFields[?(@.subresource=="scale")].manager}`)
	if managers != "kubectl" {
		t.Errorf("the manager of the scale is %q", managers)
	}
	if got := u.kubectl("get", "httpapp", "scaled", "--subresource=scale", "-o", "jsonpath={.spec.replicas} {.status.selector}"); !strings.HasPrefix(got, "1 apps.http.keda.sh/httpapp=scaled") {
		t.Errorf("the scale reads %q", got)
	}

	_, err := u.try("", "scale", "httpapp/scaled", "--replicas=4")
	if err == nil || !strings.Contains(err.Error(), "spec.replicas") || !strings.Contains(err.Error(), "3") {
		t.Errorf("scaling beyond maxReplicas should be refused with the field and the bound, not with %v", err)
	}
	if _, err := u.try("", "scale", "httpapp/scaled", "--current-replicas=3", "--replicas=2"); err == nil {
		t.Error("scaling with a wrong --current-replicas should be refused")
	}
}

func TestApplyingTwiceChangesNothing(t *testing.T) {
	u := newUser(t)
	for _, flags := range [][]string{nil, {"--server-side", "--force-conflicts"}} {
		app := manifest("twice", container, "  scaling: {maxReplicas: 3}")
		u.apply(app, flags...)
		u.routed("twice")
		version := u.kubectl("get", "httpapp", "twice", "-o", "jsonpath={.metadata.resourceVersion}")
		out := u.apply(app, flags...)
		if flags == nil && !strings.Contains(out, "unchanged") {
			t.Errorf("the second apply says %q", out)
		}
		if now := u.kubectl("get", "httpapp", "twice", "-o", "jsonpath={.metadata.resourceVersion}"); now != version {
			t.Errorf("apply %v of the same again went from version %s to %s", flags, version, now)
		}
	}
}

func TestDeletingAnAppRemovesWhatItMade(t *testing.T) {
	u := newUser(t)
	u.deploy("gone")
	for _, made := range []string{"deployment", "service", "scaledobject"} {
		u.kubectl("get", made, "gone")
	}
	u.kubectl("http", "delete", "gone")
	for _, made := range []string{"httpapp", "deployment", "service", "scaledobject"} {
		u.eventually(soon, made+" gone", func() error {
			_, err := u.try("", "get", made, "gone")
			if err == nil {
				return fmt.Errorf("%s is still there", made)
			}
			if !strings.Contains(err.Error(), "NotFound") {
				return err
			}
			return nil
		})
	}
}

func TestDeletingAnAppLeavesAnAdoptedWorkload(t *testing.T) {
	u := newUser(t)
	u.kubectl("create", "deployment", "adopted", "--image=kedahttp/test-echo:dev", "--port=8080")
	u.kubectl("patch", "deployment", "adopted", "--patch", `{"spec":{"template":{"spec":{"containers":[{"name":"test-echo","imagePullPolicy":"Never"}]}}}}`)
	u.apply(manifest("front", "  workloadRef: {apiVersion: apps/v1, kind: Deployment, name: adopted}", "  port: 8080", "  scaling: {cooldown: 5s}"))
	u.routed("front")
	u.waitReplicas("adopted", 0, later)
	if _, err := u.get("front", "/"); err != nil {
		t.Fatalf("an adopted workload should wake: %v", err)
	}
	u.kubectl("delete", "httpapp", "front")
	u.eventually(soon, "the Service gone", func() error {
		if _, err := u.try("", "get", "service", "front"); err == nil {
			return fmt.Errorf("it is still there")
		}
		return nil
	})
	u.eventually(later, "the Deployment handed back with the replica that it had", func() error {
		return u.field("deployment/adopted", "{.spec.replicas}", "1")
	})
}

func TestBadObjectsAreRefusedWithTheFieldAndTheReason(t *testing.T) {
	u := newUser(t)
	for name, c := range map[string]struct {
		app  string
		want []string
	}{
		"an unknown field": {
			manifest("bad", container, "  scalling: {maxReplicas: 3}"), []string{"spec.scalling", "unknown field"}},
		"a name too long for a host label": {
			manifest(strings.Repeat("x", 64), container), []string{"metadata.name", "63"}},
		"min over max": {
			manifest("bad", container, "  scaling: {minReplicas: 4, maxReplicas: 3}"), []string{"spec.scaling.minReplicas", "maxReplicas"}},
		"a port name that the template does not have": {
			manifest("bad", container, "  port: metrics"), []string{"spec.port", "metrics", "web"}},
		"a port number that the template does not have": {
			manifest("bad", container, "  port: 9090"), []string{"spec.port", "9090", "8080"}},
		"a host that is no DNS name": {
			manifest("bad", container, "  routes: [{hosts: ['under_score.example.com']}]"), []string{"spec.routes[0].hosts[0]", "under_score"}},
		"a host with a scheme": {
			manifest("bad", container, "  routes: [{hosts: ['http://example.com']}]"), []string{"spec.routes[0].hosts[0]", "scheme"}},
		"nothing to run": {
			manifest("bad", "  port: 80"), []string{"spec", "template", "workloadRef"}},
		"two things to run": {
			manifest("bad", container, "  workloadRef: {apiVersion: apps/v1, kind: Deployment, name: other}"), []string{"spec", "template", "workloadRef"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := u.try(c.app, "apply", "-f", "-")
			if err == nil {
				t.Fatal("it was accepted")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q: %v", want, err)
				}
			}
		})
	}
	if out := u.kubectl("get", "httpapps"); out != "" {
		t.Errorf("a refused app was stored:\n%s", out)
	}
}

func TestTheTableHasTheColumnsThatUsersRead(t *testing.T) {
	u := newUser(t)
	u.deploy("columns", "--scale", "0..7")
	rows := strings.Split(strings.TrimSpace(u.kubectl("get", "httpapps")), "\n")
	if got, want := strings.Fields(rows[0]), strings.Fields("NAME URL READY PENDING IN-FLIGHT REQ/S MIN MAX STATUS AGE"); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the columns are %v, not %v", got, want)
	}
	cells := strings.Fields(rows[1])
	if len(cells) != 10 || cells[0] != "columns" || !strings.HasPrefix(cells[1], "http://"+u.host("columns")) || cells[2] != "0/0" || cells[6] != "0" || cells[7] != "7" {
		t.Errorf("the row is %v", cells)
	}
	rows = strings.Split(strings.TrimSpace(u.kubectl("get", "httpapps", "-o", "wide")), "\n")
	if got, want := strings.Fields(rows[0])[10:], strings.Fields("WORKLOAD METRIC AUTOSCALER"); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the further columns are %v, not %v", got, want)
	}
	if !regexp.MustCompile(`\s+Deployment/columns\s+concurrency[ /]100\s+KEDA$`).MatchString(rows[1]) {
		t.Errorf("the wide row is %q", rows[1])
	}
}

func TestTheYoungerOfTwoAppsWithOneHostIsNotRoutedTo(t *testing.T) {
	u := newUser(t)
	host := u.host("shared")
	u.apply(manifest("shared", container))
	u.routed("shared")
	u.apply(manifest("younger", container, "  routes: [{hosts: ["+host+"]}]"))
	u.eventually(soon, "the conflict in the younger app's conditions", func() error {
		return u.field("httpapp/younger", `{.status.conditions[?(@.type=="RoutesAccepted")].reason}`, "HostConflict")
	})
	answer, err := u.get("shared", "/")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(answer.Pod, "shared-") {
		t.Errorf("%s answered for the older app", answer.Pod)
	}

	u.kubectl("delete", "httpapp", "shared")
	u.eventually(soon, "the younger app with the route", func() error {
		return u.field("httpapp/younger", `{.status.conditions[?(@.type=="RoutesAccepted")].status}`, "True")
	})
}

func TestThePluginSaysHowAnAppIs(t *testing.T) {
	u := newUser(t)
	u.deploy("seen")
	if out := u.kubectl("http", "list"); !strings.Contains(out, "IN-FLIGHT") || !strings.Contains(out, "seen") {
		t.Errorf("list says\n%s", out)
	}
	if out := u.kubectl("http", "status", "seen"); !strings.Contains(strings.ToLower(out), "idle") {
		t.Errorf("status says\n%s", out)
	}
	if out := u.kubectl("http", "version"); !strings.Contains(out, "lient") || !strings.Contains(out, "erver") {
		t.Errorf("version says\n%s", out)
	}
	_, err := u.try("", "http", "status", "nobody")
	if exitCode(err) != 1 || !strings.Contains(fmt.Sprint(err), "nobody") {
		t.Errorf("status of an app that is not there: %v", err)
	}
	if _, err := u.try("", "http", "deploy"); exitCode(err) != 2 {
		t.Errorf("deploy without a name should be a usage error: %v", err)
	}
}

func TestAnAppThatCannotStartSaysWhy(t *testing.T) {
	u := newUser(t)
	u.apply(manifest("broken", strings.Replace(container, "kedahttp/test-echo:dev", "kedahttp/there-is-no-such-image:dev", 1), "  scaling: {minReplicas: 1}"))
	u.eventually(later, "the reason in the app's conditions", func() error {
		return u.field("httpapp/broken", `{.status.conditions[?(@.type=="Ready")].reason}`, "ErrImageNeverPull")
	})
	_, err := u.try("", "http", "status", "broken")
	if exitCode(err) != 1 || !strings.Contains(fmt.Sprint(err), "ErrImageNeverPull") {
		t.Errorf("status of an app that fails: %v", err)
	}
}

func TestAnObjectInTheWayIsLeftAlone(t *testing.T) {
	u := newUser(t)
	u.kubectl("create", "deployment", "taken", "--image=kedahttp/test-echo:dev", "--replicas=0")
	before := u.kubectl("get", "deployment", "taken", "-o", "jsonpath={.metadata.resourceVersion}")
	u.apply(manifest("taken", container))
	u.eventually(soon, "the reason in the app's conditions", func() error {
		return u.field("httpapp/taken", `{.status.conditions[?(@.type=="WorkloadReady")].reason}`, "NameTaken")
	})
	if after := u.kubectl("get", "deployment", "taken", "-o", "jsonpath={.metadata.resourceVersion}"); after != before {
		t.Errorf("the Deployment that is not the app's was changed: its version went from %s to %s", before, after)
	}
	u.kubectl("delete", "deployment", "taken")
	u.routed("taken")
}

func TestWhatWasMadeIsMendedAndFollowsTheApp(t *testing.T) {
	u := newUser(t)
	u.deploy("mended", "--scale", "0..3")
	u.kubectl("delete", "service", "mended", "--wait=false")
	u.eventually(soon, "the Service there again", func() error {
		_, err := u.try("", "get", "service", "mended")
		return err
	})
	u.kubectl("patch", "scaledobject", "mended", "--type=merge", "--patch", `{"spec":{"maxReplicaCount":9}}`)
	u.eventually(soon, "the ScaledObject as the app says", func() error {
		return u.field("scaledobject/mended", "{.spec.maxReplicaCount}", "3")
	})
	u.kubectl("scale", "deployment/mended", "--replicas=1")
	u.deploy("mended", "--scale", "0..4", "--env", "COLOUR=green")
	u.eventually(soon, "the Deployment as the app says", func() error {
		return u.field("deployment/mended", "{.spec.template.spec.containers[0].env[0].value}", "green")
	})
	u.eventually(soon, "the ScaledObject as the app says", func() error {
		return u.field("scaledobject/mended", "{.spec.maxReplicaCount}", "4")
	})
	u.kubectl("patch", "httpapp", "mended", "--type=merge", "--patch", `{"spec":{"scaling":{"autoscaler":"None"}}}`)
	u.eventually(soon, "the ScaledObject gone", func() error {
		if _, err := u.try("", "get", "scaledobject", "mended"); err == nil {
			return fmt.Errorf("it is still there")
		}
		return nil
	})
}
