//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// The namespace controller asks every resource for protobuf first. An error that it does not expect would hold up every deletion of
// a namespace in the cluster.
func TestWhoAsksForProtobufIsAnsweredOrToldThatThereIsNone(t *testing.T) {
	u := newUser(t)
	u.apply(manifest("asked", container, idle))
	client, host := u.throughTheHost()
	collection := host + "/apis/apps.http.keda.sh/v1alpha1/namespaces/" + u.namespace + "/httpapps"
	const protobuf = "application/vnd.kubernetes.protobuf"
	const metadata = ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
	for _, c := range []struct {
		method, accept string
		code           int
		media          string
	}{
		{http.MethodGet, protobuf, http.StatusNotAcceptable, ""},
		{http.MethodGet, protobuf + ",application/json", http.StatusOK, "application/json"},
		// Of metadata alone there is protobuf: the collectors' and the quota's informers ask for it.
		{http.MethodGet, protobuf + metadata + ",application/json" + metadata + ",application/json", http.StatusOK, protobuf},
		{http.MethodDelete, protobuf + ",application/json", http.StatusOK, "application/json"},
		{http.MethodDelete, protobuf + ",*/*", http.StatusOK, "application/json"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, collection, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", c.accept)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != c.code {
			t.Errorf("%s with Accept %s: %s: %.300s", c.method, c.accept, resp.Status, body)
		}
		if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, c.media) {
			t.Errorf("%s with Accept %s is answered in %s", c.method, c.accept, kind)
		}
	}
}

func TestANamespaceIsDeletedWithItsApps(t *testing.T) {
	ns := newUser(t).namespace + "-apps"
	u := user{T: t, namespace: ns}
	u.kubectl("create", "namespace", ns)
	t.Cleanup(func() { _, _ = user{T: t}.try("", "delete", "namespace", ns, "--ignore-not-found", "--wait=false") })
	u.apply(manifest("first", container, idle))
	// A finalizer of the app's own keeps its record, too, which the namespace controller would sweep away.
	u.apply(strings.Replace(manifest("guarded", container, idle), "  name: guarded\n", "  name: guarded\n  finalizers: [example.com/kept]\n", 1))
	u.kubectl("delete", "namespace", ns, "--wait=false")
	u.eventually(later, "only the guarded app left", func() error {
		out, err := u.try("", "get", "httpapps", "-o", `jsonpath={range .items[*]}{.metadata.name} {.metadata.deletionTimestamp}{end}`)
		if err == nil && !strings.HasPrefix(out, "guarded 2") {
			err = fmt.Errorf("there are %q", out)
		}
		return err
	})
	u.kubectl("patch", "httpapp", "guarded", "--type=merge", "--patch", `{"metadata":{"finalizers":null}}`)
	u.kubectl("wait", "--for=delete", "namespace/"+ns, "--timeout=2m")
}

// Without the kinds in the schema that the server publishes, managed fields silently vanish.
func TestEveryWriterIsAManagerOfWhatItWrote(t *testing.T) {
	u := newUser(t)
	u.apply(manifest("managed", container, "  scaling: {autoscaler: None, minReplicas: 0, maxReplicas: 3}"), "--server-side", "--field-manager=applier")
	u.routed("managed")
	u.kubectl("label", "httpapp", "managed", "colour=green", "--field-manager=labeller")
	u.kubectl("annotate", "httpapp", "managed", "example.com/a=b", "--field-manager=annotator")
	var app unstructured.Unstructured
	if err := json.Unmarshal([]byte(u.kubectl("get", "httpapp", "managed", "--show-managed-fields", "-o", "json")), &app); err != nil {
		t.Fatal(err)
	}
	var managers []string
	for _, m := range app.GetManagedFields() {
		managers = append(managers, fmt.Sprintf("%s/%s/%s/%s", m.Manager, m.Operation, m.Subresource, m.APIVersion))
		if m.FieldsV1 == nil || len(m.FieldsV1.GetRawBytes()) < 5 || m.Time == nil {
			t.Errorf("%s manages nothing", m.Manager)
		}
	}
	for _, want := range []string{"applier/Apply/", "labeller/Update/", "annotator/Update/", "kedahttp/Update/status"} {
		if !slices.Contains(managers, want+"/apps.http.keda.sh/v1alpha1") {
			t.Errorf("%s is not among the managers %v", want, managers)
		}
	}

	// The other ways to create.
	u.apply(manifest("client-side", container, idle))
	if _, err := u.try(manifest("created", container, idle), "create", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	for app, want := range map[string]string{"client-side": "kubectl-client-side-apply", "created": "kubectl-create"} {
		if got := u.kubectl("get", "httpapp", app, "--show-managed-fields", "-o", "jsonpath={.metadata.managedFields[*].manager}"); !strings.Contains(got, want) {
			t.Errorf("the managers of %s are %s", app, got)
		}
	}
}

func TestThePublishedSchemaKnowsTheKinds(t *testing.T) {
	beside(t)
	schema := user{T: t}.kubectl("get", "--raw", "/openapi/v3/apis/apps.http.keda.sh/v1alpha1")
	var doc struct {
		Components struct {
			Schemas map[string]struct {
				Kinds []struct{ Group, Kind, Version string } `json:"x-kubernetes-group-version-kind"`
			}
		}
	}
	if err := json.Unmarshal([]byte(schema), &doc); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, s := range doc.Components.Schemas {
		for _, k := range s.Kinds {
			found[k.Group+"/"+k.Version+" "+k.Kind] = true
			if k.Version == "__internal" {
				t.Errorf("%v is published", k)
			}
		}
	}
	for _, want := range []string{"apps.http.keda.sh/v1alpha1 HTTPApp", "apps.http.keda.sh/v1alpha1 HTTPAppList", "autoscaling/v1 Scale"} {
		if !found[want] {
			t.Errorf("no schema is of %s", want)
		}
	}
	// The host's check of admission policies cannot read a schema of which this is true or false.
	if strings.Contains(schema, `"additionalProperties":true`) || strings.Contains(schema, `"additionalProperties":false`) {
		t.Error("a schema has additionalProperties that are no schema")
	}
}

// The garbage collector knows objects by their uid.
func TestAnAppAndItsRecordAreTwoObjects(t *testing.T) {
	u := newUser(t)
	u.apply(manifest("twin", container, idle))
	app := u.kubectl("get", "httpapp", "twin", "-o", "jsonpath={.metadata.uid}")
	record := u.kubectl("get", "httpapprecord", "twin", "-o", "jsonpath={.metadata.uid} {.object}")
	own, kept, _ := strings.Cut(record, " ")
	if app == "" || own == "" || app == own || !strings.Contains(kept, `"uid":"`+app+`"`) {
		t.Errorf("the app's uid is %s, its record's %s, which keeps %s", app, own, kept)
	}
}

func TestABrokenRecordBreaksNothingElse(t *testing.T) {
	u := newUser(t)
	u.apply(manifest("sound", container, idle))
	// What an administrator can write past every check of ours: an app of a form that no version of it has.
	object := func(maxReplicas string) string {
		return fmt.Sprintf(`{"kind":"HTTPApp","apiVersion":"apps.http.keda.sh/v1alpha1","metadata":{"name":"broken","namespace":%q,"uid":"7d9c0f8e-0000-4000-8000-000000000000"},"spec":{"scaling":{"maxReplicas":%s}}}`, u.namespace, maxReplicas)
	}
	_, err := u.try(`apiVersion: storage.apps.http.keda.sh/v1
kind: HTTPAppRecord
metadata:
  name: broken
object: '`+object(`"many"`)+`'
`, "apply", "-f", "-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = u.try("", "delete", "httpapprecord", "broken", "--ignore-not-found") })

	if got := u.kubectl("get", "httpapps", "-o", "name"); got != "httpapp.apps.http.keda.sh/sound\n" {
		t.Errorf("the list is %q", got)
	}
	watch := u.watchTable("")
	u.kubectl("label", "httpapp", "sound", "seen=yes")
	u.kubectl("label", "httpapprecord", "broken", "touched=yes")
	u.apply(manifest("another", container, idle))
	u.eventually(soon, "the watch going on", func() error {
		watch.mu.Lock()
		defer watch.mu.Unlock()
		for _, row := range watch.rows {
			if row["NAME"] == "another" {
				return nil
			}
		}
		return fmt.Errorf("its rows are %v", watch.rows)
	})
	u.routed("another")
	_, err = u.try("", "get", "httpapp", "broken")
	if err == nil || !strings.Contains(err.Error(), "broken") || !strings.Contains(err.Error(), "maxReplicas") || strings.Contains(err.Error(), "NotFound") {
		t.Errorf("asking for it should say what is wrong with it, not: %v", err)
	}

	// Mended, it is an app as others.
	u.kubectl("patch", "httpapprecord", "broken", "--type=merge", "--patch", fmt.Sprintf(`{"object":%q}`, object("2")))
	if err := u.field("httpapp/broken", "{.spec.scaling.maxReplicas}", "2"); err != nil {
		t.Error(err)
	}
	u.kubectl("delete", "httpapprecord", "broken")
	u.eventually(soon, "the app gone with its record", func() error {
		_, err := u.try("", "get", "httpapp", "broken")
		if err == nil || !strings.Contains(err.Error(), "NotFound") {
			return fmt.Errorf("get says %v", err)
		}
		return nil
	})
}
