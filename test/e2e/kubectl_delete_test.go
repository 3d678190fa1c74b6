//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// gone waits until an object is not there any more.
func (u user) gone(object string) {
	u.Helper()
	u.eventually(soon, object+" gone", func() error {
		_, err := u.try("", "get", object)
		if err == nil {
			return fmt.Errorf("it is still there")
		}
		if !strings.Contains(err.Error(), "NotFound") {
			return err
		}
		return nil
	})
}

// dependent is an object that an app owns, with a finalizer of the test's if it is held.
func (u user) dependent(app, name string, held bool) {
	u.Helper()
	uid := u.kubectl("get", "httpapp", app, "-o", "jsonpath={.metadata.uid}")
	finalizers := ""
	if held {
		finalizers = "  finalizers: [example.com/hold]\n"
	}
	u.apply(`apiVersion: v1
kind: ConfigMap
metadata:
  name: ` + name + `
` + finalizers + `  ownerReferences:
  - {apiVersion: apps.http.keda.sh/v1alpha1, kind: HTTPApp, name: ` + app + `, uid: ` + uid + `, blockOwnerDeletion: true}
`)
}

func (u user) release(object string) {
	u.Helper()
	u.kubectl("patch", object, "--type=json", "-p", `[{"op":"remove","path":"/metadata/finalizers"}]`)
}

func TestDeletingAnAppDoesWithItsDependentsAsItIsTold(t *testing.T) {
	u := newUser(t)
	var manifests []string
	for _, name := range []string{"foreground", "background", "orphan", "default"} {
		manifests = append(manifests, small(name))
	}
	u.apply(strings.Join(manifests, "---\n"))
	u.dependent("foreground", "of-foreground", true)
	u.dependent("background", "of-background", true)
	u.dependent("orphan", "of-orphan", false)
	u.dependent("default", "of-default", false)

	// The app stays, and says so, while its dependents do.
	u.kubectl("delete", "httpapp", "foreground", "--cascade=foreground", "--wait=false")
	if got := u.kubectl("get", "httpapp", "foreground", "-o", "jsonpath={.metadata.finalizers}{.metadata.deletionGracePeriodSeconds}"); got != `["foregroundDeletion"]0` {
		t.Errorf("while its dependents are deleted the app has the finalizers and grace period %s", got)
	}
	if row := u.kubectl("get", "httpapp", "foreground", "--no-headers"); !strings.Contains(row, "Terminating") {
		t.Errorf("its row says %q", row)
	}
	u.eventually(soon, "the dependent being deleted", func() error {
		return u.field("configmap/of-foreground", `{.metadata.finalizers}{range .metadata.deletionTimestamp}x{end}`, `["example.com/hold"]x`)
	})
	u.kubectl("get", "httpapp", "foreground")
	u.release("configmap/of-foreground")
	u.kubectl("wait", "httpapp/foreground", "--for=delete", "--timeout=2m")
	u.gone("configmap/of-foreground")

	// The app goes at once, its dependents after it.
	u.kubectl("delete", "httpapp", "background", "--cascade=background")
	u.eventually(soon, "the dependent being deleted", func() error {
		return u.field("configmap/of-background", `{range .metadata.deletionTimestamp}x{end}`, "x")
	})
	u.release("configmap/of-background")
	u.gone("configmap/of-background")

	// The app goes, its dependents stay and are nobody's.
	u.kubectl("delete", "httpapp", "orphan", "--cascade=orphan")
	if err := u.field("configmap/of-orphan", "{.metadata.ownerReferences}", ""); err != nil {
		t.Error(err)
	}

	u.kubectl("delete", "httpapp", "default")
	u.gone("configmap/of-default")
}

func TestFinalizersHoldADeletionBackUntilTheyAreRemoved(t *testing.T) {
	u := newUser(t)
	u.apply(strings.Replace(small("held"), "  name: held\n", "  name: held\n  finalizers: [example.com/first, example.com/second]\n", 1))
	u.kubectl("delete", "httpapp", "held", "--wait=false")
	if got := u.kubectl("get", "httpapp", "held", "-o", "jsonpath={range .metadata.deletionTimestamp}x{end}"); got != "x" {
		t.Error("the app that is held back has no deletionTimestamp")
	}
	if out := u.said("", "delete", "httpapp", "held", "--timeout=2s"); !strings.Contains(out, "timed out") {
		t.Errorf("a second deletion says\n%s", out)
	}
	// What is being deleted may be changed, and gets no new finalizers.
	u.kubectl("label", "httpapp", "held", "still=here")
	if _, err := u.try("", "patch", "httpapp", "held", "--type=json", "-p", `[{"op":"add","path":"/metadata/finalizers/-","value":"example.com/third"}]`); err == nil || !strings.Contains(err.Error(), "metadata.finalizers: Forbidden") {
		t.Errorf("a new finalizer on an app that is being deleted: %v", err)
	}
	u.kubectl("patch", "httpapp", "held", "--type=json", "-p", `[{"op":"remove","path":"/metadata/finalizers/0"}]`)
	if err := u.field("httpapp/held", "{.metadata.finalizers}", `["example.com/second"]`); err != nil {
		t.Error(err)
	}
	u.release("httpapp/held")
	u.gone("httpapp/held")
}

func TestAppsAreDeletedByLabelByFileAllAndWithTheirNamespace(t *testing.T) {
	u := newUser(t)
	var manifests []string
	for i := range 6 {
		manifests = append(manifests, strings.Replace(small(fmt.Sprintf("app-%d", i)), "spec:\n", fmt.Sprintf("  labels: {half: h%d}\nspec:\n", i%2), 1))
	}
	all := strings.Join(manifests, "---\n")
	u.apply(all)
	u.kubectl("delete", "httpapps", "-l", "half=h1")
	if got := u.kubectl("get", "httpapps", "-o", "jsonpath={.items[*].metadata.name}"); got != "app-0 app-2 app-4" {
		t.Errorf("after deleting half of them by label there are %s", got)
	}
	if out := u.kubectl("delete", "httpapps", "--all"); strings.Count(out, "deleted") != 3 {
		t.Errorf("delete --all says\n%s", out)
	}
	u.apply(all)
	if _, err := u.try(all, "delete", "-f", "-"); err != nil {
		t.Error(err)
	}

	// A namespace goes when its apps are gone, those that make something and those that are held back for a moment, too.
	other := user{T: t, namespace: u.namespace + "-other"}
	u.kubectl("create", "namespace", other.namespace)
	other.apply(all + "---\n" + manifest("made", container) + "---\n" +
		strings.Replace(small("held"), "  name: held\n", "  name: held\n  finalizers: [example.com/hold]\n", 1))
	u.kubectl("delete", "namespace", other.namespace, "--wait=false")
	other.eventually(later, "only what is held back left", func() error {
		names, err := other.try("", "get", "httpapps", "-o", "jsonpath={.items[*].metadata.name}")
		if err == nil && names != "held" {
			err = fmt.Errorf("there are %s", names)
		}
		return err
	})
	u.eventually(later, "the namespace saying what it waits for", func() error {
		return u.field("namespace/"+other.namespace, `{.status.conditions[?(@.type=="NamespaceFinalizersRemaining")].status}`, "True")
	})
	other.release("httpapp/held")
	u.kubectl("wait", "namespace/"+other.namespace, "--for=delete", "--timeout=2m")
}
