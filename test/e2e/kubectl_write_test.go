//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

func TestADryRunStoresNothingAndAnswersWhatWould(t *testing.T) {
	u := newUser(t)
	out := u.kubectl("get", "httpapps", "-o", "name")
	if out != "" {
		t.Fatal(out)
	}
	var err error
	if out, err = u.try(small("dry"), "create", "-f", "-", "--dry-run=server", "-o", "jsonpath={.spec.routes[0].hosts[0]} {.spec.scaling.maxReplicas} {.metadata.generation}"); err != nil {
		t.Fatal(err)
	}
	if want := u.host("dry") + " 10 1"; out != want {
		t.Errorf("the dry run answers %q, not %q: defaults are missing", out, want)
	}
	u.apply(small("dry"))
	version := u.kubectl("get", "httpapp", "dry", "-o", "jsonpath={.metadata.uid}{.metadata.generation}")
	for _, args := range [][]string{
		{"patch", "httpapp", "dry", "--type=merge", "-p", `{"spec":{"scaling":{"maxReplicas":3}}}`},
		{"label", "httpapp", "dry", "a=b"},
		{"delete", "httpapp", "dry"},
		{"delete", "httpapps", "--all"},
	} {
		u.kubectl(append(args, "--dry-run=server")...)
	}
	if now := u.kubectl("get", "httpapp", "dry", "-o", "jsonpath={.metadata.uid}{.metadata.generation}{.metadata.labels}{.metadata.deletionTimestamp}"); now != version {
		t.Errorf("dry runs went from %s to %s", version, now)
	}
}

func TestServerSideApplyKnowsWhoOwnsWhat(t *testing.T) {
	u := newUser(t)
	app := func(most string) string {
		return small("owned", "  routes: [{hosts: [owned.example.com]}]") + "  concurrencyLimit: " + most + "\n"
	}
	ssa := []string{"apply", "--server-side", "-f", "-", "--field-manager"}
	must := func(stdin string, args ...string) {
		t.Helper()
		if _, err := u.try(stdin, args...); err != nil {
			t.Fatal(err)
		}
	}
	must(app("5"), append(ssa, "alice")...)
	out := u.said(app("6"), append(ssa, "bob")...)
	if !strings.Contains(out, `conflict with "alice": .spec.concurrencyLimit`) {
		t.Errorf("the conflict does not name alice and the field:\n%s", out)
	}
	if strings.Contains(out, ".spec.routes") || strings.Contains(out, ".status") {
		t.Errorf("the conflict names fields that are the same:\n%s", out)
	}
	must(app("6"), append(ssa, "bob", "--force-conflicts")...)
	if got := u.kubectl("get", "httpapp", "owned", "-o", "jsonpath={.spec.concurrencyLimit}"); got != "6" {
		t.Errorf("by force, it is %s", got)
	}
	// What alice leaves out and bob still has stays; what nobody has any more goes.
	must(small("owned"), append(ssa, "alice")...)
	if got := u.kubectl("get", "httpapp", "owned", "-o", "jsonpath={.spec.routes[0].hosts[0]}"); got != "owned.example.com" {
		t.Errorf("bob's route became %s", got)
	}
	must(small("owned"), append(ssa, "bob")...)
	if got := u.kubectl("get", "httpapp", "owned", "-o", "jsonpath={.spec.routes[0].hosts[0]} {.spec.concurrencyLimit}"); got != u.host("owned")+" " {
		t.Errorf("without an owner they are %s", got)
	}

	// The status is the reconciler's, its live part nobody's; and a scale is written by whoever scaled.
	u.kubectl("wait", "httpapp/owned", "--for=jsonpath={.status.observedGeneration}="+u.kubectl("get", "httpapp", "owned", "-o", "jsonpath={.metadata.generation}"), "--timeout=2m")
	out = u.kubectl("get", "httpapp", "owned", "--show-managed-fields", "-o", `jsonpath={range .metadata.managedFields[*]}{.manager} {.subresource} {.fieldsV1}{"\n"}{end}`)
	for _, line := range strings.Split(out, "\n") {
		if strings.Contains(line, "f:status") && !strings.Contains(line, " status {") {
			t.Errorf("a writer of the spec owns status: %s", line)
		}
		if strings.Contains(line, "f:traffic") {
			t.Errorf("somebody owns live numbers: %s", line)
		}
	}
	out = u.said(app("5")+"status: {replicas: 9, traffic: {pending: 9}}\n", append(ssa, "carol", "--force-conflicts", "--validate=warn", "--show-managed-fields", "-o", "yaml")...)
	if strings.Contains(out, "replicas: 9") || strings.Contains(out, "pending: 9") {
		t.Errorf("a status that came with an apply was taken:\n%s", out)
	}
}

func TestDiffIsEmptyAfterAnApplyAndShowsOnlyWhatWouldChange(t *testing.T) {
	u := newUser(t)
	u.apply(manifest("compared", container, "  scaling: {autoscaler: None}"))
	u.routed("compared")
	// Nor is what moves a difference: requests come all along.
	all := kinds{"GET": func(context.Context) error { _, err := u.get("compared", "/"); return err }}
	load := u.traffic(all)
	u.eventually(soon, "a read that shows the requests", func() error {
		rate := u.kubectl("get", "httpapp", "compared", "-o", "jsonpath={.status.traffic.requestRate}")
		if rate == "" || rate == "0" {
			return fmt.Errorf("the rate is %q", rate)
		}
		return nil
	})
	// The first request woke it, and was answered before that was written.
	u.kubectl("wait", "--for=jsonpath={.status.readyReplicas}=1", "httpapp/compared", "--timeout=2m")
	u.routed("compared")
	for _, flags := range [][]string{nil, {"--server-side", "--force-conflicts"}} {
		u.apply(manifest("compared", container, "  scaling: {autoscaler: None}"), flags...)
		for range 5 {
			out, err := u.try(manifest("compared", container, "  scaling: {autoscaler: None}"), append([]string{"diff", "-f", "-"}, flags...)...)
			if err != nil || out != "" {
				t.Fatalf("diff %v of what was applied: %v\n%s", flags, err, out)
			}
		}
		out, err := u.try(manifest("compared", container, "  scaling: {autoscaler: None, maxReplicas: 7}"), append([]string{"diff", "-f", "-"}, flags...)...)
		if exitCode(err) != 1 {
			t.Fatalf("diff %v of a change: %v\n%s", flags, err, out)
		}
		var changed []string
		for _, line := range strings.Split(out, "\n") {
			// An annotation that client-side apply left repeats the whole change.
			if (strings.HasPrefix(line, "+ ") || strings.HasPrefix(line, "- ")) && !strings.Contains(line, `{"apiVersion"`) {
				changed = append(changed, strings.Join(strings.Fields(line), " "))
			}
		}
		if got := strings.Join(changed, ", "); got != "- generation: 1, + generation: 2, - maxReplicas: 10, + maxReplicas: 7" {
			t.Errorf("diff %v shows %s:\n%s", flags, got, out)
		}
	}
	load.check(u, all)
}

func TestAnAppSurvivesItsWayThroughFilesAndEditors(t *testing.T) {
	u := newUser(t)
	u.apply(small("round"))
	u.kubectl("wait", "httpapp/round", "--for=jsonpath={.status.observedGeneration}=1", "--timeout=2m")
	for _, format := range []string{"yaml", "json"} {
		text := u.kubectl("get", "httpapp", "round", "-o", format, "--show-managed-fields")
		if _, err := u.try(text, "replace", "-f", "-"); err != nil {
			t.Errorf("what get -o %s said is not taken back: %v", format, err)
		}
		u.kubectl("label", "httpapp", "round", "now="+format, "--overwrite")
		if _, err := u.try(text, "replace", "-f", "-"); err == nil || !strings.Contains(err.Error(), "Conflict") {
			t.Errorf("replacing by what is outdated: %v", err)
		}
	}

	uid := u.kubectl("get", "httpapp", "round", "-o", "jsonpath={.metadata.uid}")
	u.editor = "sed -i 's/maxReplicas: .*/maxReplicas: 4/'"
	u.kubectl("edit", "httpapp", "round")
	if err := u.field("httpapp/round", "{.spec.scaling.maxReplicas}", "4"); err != nil {
		t.Error(err)
	}
	u.editor = "sed -i 's/maxReplicas: .*/maxReplicas: -4/'"
	if out := u.said("", "edit", "httpapp", "round"); !strings.Contains(out, `"round" is invalid`) || !strings.HasSuffix(out, "exit 1\n") {
		t.Errorf("editing it into what is refused says\n%s", out)
	}
	if got := u.kubectl("get", "httpapp", "round", "-o", "jsonpath={.metadata.uid}"); got != uid {
		t.Error("it is another object now")
	}
}

func TestTheStatusIsWrittenOnlyThroughItsSubresource(t *testing.T) {
	u := newUser(t)
	u.apply(small("told"))
	u.kubectl("wait", "httpapp/told", "--for=jsonpath={.status.observedGeneration}=1", "--timeout=2m")
	const patch = `{"metadata":{"labels":{"a":"b"}},"spec":{"scaling":{"maxReplicas":3}},"status":{"url":"http://told.example.com","traffic":{"pending":7}}}`
	// The reconciler writes it back, so what counts is the answer.
	out := u.kubectl("patch", "httpapp", "told", "--subresource=status", "--type=merge", "-p", patch, "-o", "jsonpath={.status.url} {.spec.scaling.maxReplicas} {.metadata.labels} {.metadata.generation} {.status.traffic.pending}")
	if !strings.HasPrefix(out, "http://told.example.com 10  1 ") || strings.HasSuffix(out, "7") {
		t.Errorf("the answer to a patch of the status is %q", out)
	}
	out = u.kubectl("patch", "httpapp", "told", "--type=merge", "-p", patch, "-o", "jsonpath={.spec.scaling.maxReplicas} {.metadata.labels} {.metadata.generation}|{.status.url} {.status.traffic.pending}")
	if !strings.HasPrefix(out, `3 {"a":"b"} 2|`) || strings.HasSuffix(out, "7") {
		t.Errorf("the answer to a patch of the app is %q", out)
	}
	u.editor = "sed -i 's/observedGeneration: .*/observedGeneration: 1/'"
	out = u.said("", "edit", "httpapp", "told", "--subresource=status")
	if !strings.Contains(out, "edited") && !strings.Contains(out, "cancelled") {
		t.Errorf("editing the status says\n%s", out)
	}
	if out := u.said("", "patch", "httpapp", "told", "--subresource=status", "--type=merge", "-p", `{"status":{"replicas":-1}}`); !strings.Contains(out, "status.replicas: Invalid value: -1") {
		t.Errorf("a status that cannot be says\n%s", out)
	}
}

func TestGeneratedNamesBecomeHosts(t *testing.T) {
	u := newUser(t)
	generated := strings.Replace(small("x"), "  name: x\n", "  generateName: made-\n", 1)
	names := map[string]bool{}
	for range 3 {
		out, err := u.try(generated, "create", "-f", "-", "-o", "jsonpath={.metadata.name} {.spec.routes[0].hosts[0]}")
		if err != nil {
			t.Fatal(err)
		}
		name, host, _ := strings.Cut(out, " ")
		if !strings.HasPrefix(name, "made-") || len(name) != len("made-")+5 || host != u.host(name) || names[name] {
			t.Errorf("the name is %s, the host %s", name, host)
		}
		names[name] = true
	}
	long := strings.Repeat("long-", 12)
	out, err := u.try(strings.Replace(generated, "made-", long, 1), "create", "-f", "-", "-o", "jsonpath={.metadata.name}")
	if err != nil || len(out) > 63 {
		t.Errorf("a long generateName: %v, %q with %d characters", err, out, len(out))
	}
}

func TestDescribeShowsAnAppAndWhatHappenedToIt(t *testing.T) {
	u := newUser(t)
	u.deploy("described")
	if _, err := u.get("described", "/"); err != nil {
		t.Fatal(err)
	}
	u.eventually(soon, "describe with the events", func() error {
		out := u.kubectl("describe", "httpapp", "described")
		for _, want := range []string{"Name:         described\n", "Namespace:    " + u.namespace, "Kind:         HTTPApp", "Conditions:", "Traffic:", "Max Replicas:", "Events:", "kedahttp"} {
			if !strings.Contains(out, want) {
				return fmt.Errorf("it does not say %q:\n%s", want, out)
			}
		}
		return nil
	})
	u.eventually(soon, "kubectl events with them", func() error {
		if out := u.kubectl("events", "--for=httpapp/described", "--no-headers"); !strings.Contains(out, "HTTPApp/described") {
			return fmt.Errorf("it says %q", out)
		}
		return nil
	})
}
