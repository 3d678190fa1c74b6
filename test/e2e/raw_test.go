//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// raw sends requests to the cluster as they are, for what kubectl cannot be told to ask.
type raw struct {
	*testing.T
	client *http.Client
	config *rest.Config
}

func newRaw(t *testing.T) raw {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	return raw{t, client, config}
}

type answer struct {
	code   int
	header http.Header
	body   []byte
}

// status are the reason and the message, if it is a Status.
func (a answer) status() (s struct{ Kind, Reason, Message string }) {
	if err := json.Unmarshal(a.body, &s); err != nil || s.Kind != "Status" {
		s.Reason, s.Message = "", ""
	}
	return s
}

func (r raw) do(method, path, body string, headers ...string) answer {
	r.Helper()
	req, err := http.NewRequestWithContext(r.Context(), method, r.config.Host+path, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := r.client.Do(req)
	if err != nil {
		r.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	a := answer{code: resp.StatusCode, header: resp.Header}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		r.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// get reads JSON into out and returns the media type.
func (r raw) get(path, accept string, out any) string {
	r.Helper()
	a := r.do(http.MethodGet, path, "", "Accept", accept)
	if a.code != http.StatusOK {
		r.Fatalf("GET %s as %s: %d %s", path, accept, a.code, a.body)
	}
	if err := json.Unmarshal(a.body, out); err != nil {
		r.Fatalf("GET %s as %s: %v in %s", path, accept, err, a.body)
	}
	return a.header.Get("Content-Type")
}

func TestRequestsAreAnsweredAsThoseForDeployments(t *testing.T) {
	deployments, apps := twins(t)
	r := newRaw(t)
	type side struct {
		twin
		path, version, selector string
	}
	sides := []side{
		{twin: deployments, path: "/apis/apps/v1/namespaces/" + deployments.namespace + "/deployments", selector: `"selector":{"matchLabels":{"app":"one"}},`},
		{twin: apps, path: "/apis/apps.http.keda.sh/v1alpha1/namespaces/" + apps.namespace + "/httpapps"},
	}
	for i, s := range sides {
		for _, name := range []string{"one", "two", "three"} {
			if out := s.do(one(name, "a"), "create", "-f", "-"); !strings.Contains(out, "created") {
				t.Fatal(out)
			}
		}
		var list struct {
			Metadata struct{ ResourceVersion string }
		}
		r.get(s.path, "application/json", &list)
		sides[i].version = list.Metadata.ResourceVersion
	}
	const (
		table   = "application/json;as=Table;v=v1;g=meta.k8s.io"
		partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
		list    = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
		merge   = "application/merge-patch+json"
		apply   = "application/apply-patch+yaml"
	)
	minimal := func(name string, more ...string) string {
		return `{"apiVersion":"VERSION","kind":"KIND","metadata":{"name":"` + name + `","labels":{"app":"one"}` + strings.Join(more, "") +
			`},"spec":{SELECTOR"template":{"metadata":{"labels":{"app":"one"}},"spec":{"containers":[{"name":"app","image":"a"}]}}}}`
	}
	for _, request := range []struct {
		method, path, body string
		headers            []string
	}{
		{"GET", "?limit=1", "", nil},
		{"GET", "?limit=1&resourceVersion=0", "", nil},
		{"GET", "?limit=-1", "", nil},
		{"GET", "?limit=many", "", nil},
		{"GET", "?continue=nonsense", "", nil},
		{"GET", "?limit=1&continue=nonsense&resourceVersion=1", "", nil},
		{"GET", "?resourceVersion=0", "", nil},
		{"GET", "?resourceVersion=CURRENT", "", nil},
		{"GET", "?resourceVersion=CURRENT&resourceVersionMatch=Exact", "", nil},
		{"GET", "?resourceVersion=CURRENT&resourceVersionMatch=NotOlderThan", "", nil},
		{"GET", "?resourceVersion=CURRENT&resourceVersionMatch=Nonsense", "", nil},
		{"GET", "?resourceVersion=0&resourceVersionMatch=Exact", "", nil},
		{"GET", "?resourceVersionMatch=Exact", "", nil},
		{"GET", "?resourceVersion=9000000000&resourceVersionMatch=NotOlderThan", "", nil},
		{"GET", "?resourceVersion=nonsense", "", nil},
		{"GET", "?labelSelector=,,", "", nil},
		{"GET", "?labelSelector=app%3Dnonsense", "", nil},
		{"GET", "?fieldSelector=metadata.name", "", nil},
		{"GET", "?fieldSelector=metadata.nonsense%3D1", "", nil},
		{"GET", "?fieldSelector=metadata.name%3Done", "", []string{"Accept", list}},
		{"GET", "?pretty=true&limit=1", "", nil},
		{"GET", "?watch=1&timeoutSeconds=1&resourceVersion=1", "", nil},
		{"GET", "?watch=1&timeoutSeconds=1&sendInitialEvents=true", "", nil},
		{"GET", "?watch=1&timeoutSeconds=1&resourceVersionMatch=NotOlderThan", "", nil},
		{"GET", "?sendInitialEvents=true&resourceVersionMatch=NotOlderThan", "", nil},
		{"GET", "/one", "", nil},
		{"GET", "/one?resourceVersion=0", "", nil},
		{"GET", "/nobody", "", nil},
		{"GET", "/one/nonsense", "", nil},
		{"GET", "/one", "", []string{"Accept", "text/html"}},
		{"GET", "/one", "", []string{"Accept", "application/yaml"}},
		{"GET", "/one", "", []string{"Accept", table}},
		{"GET", "/one?includeObject=Object", "", []string{"Accept", table}},
		{"GET", "/one?includeObject=None", "", []string{"Accept", table}},
		{"GET", "/one?includeObject=Nonsense", "", []string{"Accept", table}},
		{"GET", "/one", "", []string{"Accept", partial}},
		{"GET", "/one", "", []string{"Accept", list}},
		{"GET", "", "", []string{"Accept", list}},
		{"GET", "", "", []string{"Accept", table}},
		{"GET", "", "", []string{"Accept", "application/json;as=Nonsense;v=v1;g=meta.k8s.io"}},
		{"GET", "", "", []string{"Accept", "application/json;as=Nonsense;v=v1;g=meta.k8s.io,application/json"}},
		{"HEAD", "/one", "", nil},
		{"OPTIONS", "/one", "", nil},
		{"POST", "/one", "", nil},
		{"PUT", "", "", nil},

		{"POST", "", "", nil},
		{"POST", "", "nonsense", nil},
		{"POST", "", "nonsense", []string{"Content-Type", "text/plain"}},
		{"POST", "", minimal("new", `,"resourceVersion":"1"`), nil},
		{"POST", "", minimal("new", `,"namespace":"another"`), nil},
		{"POST", "", minimal(""), nil},
		{"POST", "?dryRun=Nonsense", minimal("new"), nil},
		{"POST", "?dryRun=All", minimal("new"), nil},
		{"POST", "?dryRun=All&fieldValidation=Nonsense", minimal("new"), nil},
		{"POST", "?dryRun=All&fieldValidation=Strict", minimal("new", `,"nonsense":1`), nil},
		{"POST", "?dryRun=All&fieldValidation=Strict", minimal("new", `,"name":"newer"`), nil},
		{"POST", "?dryRun=All&fieldValidation=Warn", minimal("new", `,"name":"newer","nonsense":1`), nil},
		{"POST", "?dryRun=All&fieldValidation=Ignore", minimal("new", `,"name":"newer","nonsense":1`), nil},
		{"POST", "?dryRun=All", minimal("new", `,"name":"newer","nonsense":1`), nil},
		{"POST", "?dryRun=All&fieldValidation=Strict", "kind: KIND\nkind: KIND\napiVersion: VERSION\n", []string{"Content-Type", "application/yaml"}},
		{"POST", "?dryRun=All&fieldManager=" + strings.Repeat("long", 40), minimal("new"), nil},

		{"PUT", "/one?dryRun=All", minimal("two"), nil},
		{"PUT", "/one?dryRun=All", minimal("one", `,"resourceVersion":"1"`), nil},
		{"PUT", "/one?dryRun=All", minimal("one", `,"resourceVersion":"nonsense"`), nil},
		{"PUT", "/one?dryRun=All", minimal("one", `,"uid":"other"`), nil},
		{"PUT", "/nobody?dryRun=All", minimal("nobody"), nil},
		{"PATCH", "/one", "{}", nil},
		{"PATCH", "/one", "{}", []string{"Content-Type", "text/plain"}},
		{"PATCH", "/one?dryRun=All", `{"metadata":{"labels":5}}`, []string{"Content-Type", merge}},
		{"PATCH", "/one?dryRun=All&fieldValidation=Strict", `{"metadata":{"labels":{"a":"b"},"nonsense":1}}`, []string{"Content-Type", merge}},
		{"PATCH", "/one?dryRun=All&fieldValidation=Strict", `{"metadata":{"labels":{"a":"b","a":"c"}}}`, []string{"Content-Type", merge}},
		{"PATCH", "/one?dryRun=All&fieldValidation=Warn", `{"metadata":{"labels":{"a":"b","a":"c"},"nonsense":1}}`, []string{"Content-Type", merge}},
		{"PATCH", "/one?dryRun=All&fieldValidation=Strict", `{"metadata":{"nonsense":1}}`, []string{"Content-Type", "application/strategic-merge-patch+json"}},
		{"PATCH", "/one?dryRun=All&fieldValidation=Strict", `[{"op":"add","path":"/spec/nonsense","value":1}]`, []string{"Content-Type", "application/json-patch+json"}},
		{"PATCH", "/nobody?dryRun=All", "{}", []string{"Content-Type", merge}},
		{"PATCH", "/nobody?dryRun=All", "apiVersion: VERSION\nkind: KIND\n", []string{"Content-Type", apply}},
		{"PATCH", "/one?dryRun=All&fieldManager=me", "apiVersion: VERSION\nkind: KIND\nmetadata: {labels: {a: b, a: c}}\n", []string{"Content-Type", apply}},
		{"PATCH", "/one?dryRun=All&fieldManager=me&fieldValidation=Strict", "apiVersion: VERSION\nkind: KIND\nspec: {nonsense: 1}\n", []string{"Content-Type", apply}},
		{"PATCH", "/one?dryRun=All&fieldManager=me", "apiVersion: VERSION\nkind: KIND\nmetadata: {managedFields: [{manager: x}]}\n", []string{"Content-Type", apply}},
		{"PATCH", "/one?dryRun=All&fieldManager=me", "apiVersion: v7\nkind: KIND\n", []string{"Content-Type", apply}},
		{"PATCH", "/one?dryRun=All&fieldManager=me&force=true", "{}", []string{"Content-Type", merge}},

		{"DELETE", "/nobody", "", nil},
		{"DELETE", "/one", `{"preconditions":{"uid":"other"}}`, nil},
		{"DELETE", "/one", `{"preconditions":{"resourceVersion":"1"}}`, nil},
		{"DELETE", "/one", `{"propagationPolicy":"Nonsense"}`, nil},
		{"DELETE", "/one", `{"propagationPolicy":"Orphan","orphanDependents":true}`, nil},
		{"DELETE", "/one?dryRun=All", "", nil},
		{"DELETE", "/one?gracePeriodSeconds=-5", "", nil},
		{"DELETE", "?labelSelector=,,", "", nil},
		{"DELETE", "?fieldSelector=metadata.nonsense%3D1", "", nil},
		{"DELETE", "?dryRun=All", "", nil},
		{"DELETE", "?labelSelector=app%3Dnonsense", "", nil},
	} {
		var said []string
		for _, s := range sides {
			write := strings.NewReplacer("KIND", s.kind, "VERSION", s.twin.version, "CURRENT", s.version, "SELECTOR", s.selector)
			headers := []string{"Content-Type", "application/json"}
			a := r.do(request.method, s.path+write.Replace(request.path), write.Replace(request.body), append(headers, request.headers...)...)
			st := a.status()
			read := strings.NewReplacer(append([]string{s.namespace, "NAMESPACE", s.version, "CURRENT"}, s.own...)...)
			var about struct {
				Kind  string
				Items []struct{ Metadata struct{ Name string } }
				Rows  []struct {
					Object struct{ Kind string }
				}
			}
			// What is no JSON has none of them.
			_ = json.Unmarshal(a.body, &about)
			names := []string{}
			for _, item := range about.Items {
				names = append(names, item.Metadata.Name)
			}
			for _, row := range about.Rows {
				names = append(names, row.Object.Kind)
			}
			slices.Sort(names)
			said = append(said, changing.ReplaceAllString(read.Replace(fmt.Sprintf("%d %s, %s of %v\n%s: %s\n%s", a.code, a.header.Get("Content-Type"), about.Kind, names,
				st.Reason, st.Message, strings.Join(a.header.Values("Warning"), "\n"))), "…"))
		}
		if said[0] != said[1] {
			t.Errorf("%s %s %v %s\nof Deployments: %s\nof HTTPApps:    %s", request.method, request.path, request.headers, request.body, said[0], said[1])
		}
	}
}

// Clients that prefer protobuf, as the controllers of the host do, take JSON when they say so, and are told when they do not.
func TestProtobufIsRefusedAndJSONTakesItsPlace(t *testing.T) {
	u := newUser(t)
	u.apply(small("plain"))
	r := newRaw(t)
	path := "/apis/apps.http.keda.sh/v1alpha1/namespaces/" + u.namespace + "/httpapps"
	const protobuf = "application/vnd.kubernetes.protobuf"
	for _, p := range []string{path, path + "/plain"} {
		if a := r.do(http.MethodGet, p, "", "Accept", protobuf); a.code != http.StatusNotAcceptable {
			t.Errorf("GET %s as protobuf only: %d %s", p, a.code, a.body)
		}
		var object struct{ Kind string }
		if media := r.get(p, protobuf+",application/json", &object); media != "application/json" || !strings.HasPrefix(object.Kind, "HTTPApp") {
			t.Errorf("GET %s as protobuf or JSON is answered with %s as %s", p, object.Kind, media)
		}
	}
	if a := r.do(http.MethodPost, path, "k8s\x00", "Content-Type", protobuf); a.code != http.StatusUnsupportedMediaType {
		t.Errorf("POST of protobuf: %d %s", a.code, a.body)
	}
	// Metadata clients prefer it, too: the garbage collector, the namespace controller.
	client, err := metadata.NewForConfig(r.config)
	if err != nil {
		t.Fatal(err)
	}
	resource := schema.GroupVersionResource{Group: "apps.http.keda.sh", Version: "v1alpha1", Resource: "httpapps"}
	list, err := client.Resource(resource).Namespace(u.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 || list.Items[0].Name != "plain" || list.Items[0].UID == "" {
		t.Errorf("the list of metadata is %+v, %v", list, err)
	}
	var partial struct {
		Kind  string
		Items []struct {
			Metadata struct{ Name string }
			Spec     any
		}
	}
	r.get(path, "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", &partial)
	if partial.Kind != "PartialObjectMetadataList" || len(partial.Items) != 1 || partial.Items[0].Metadata.Name != "plain" || partial.Items[0].Spec != nil {
		t.Errorf("the list of metadata in JSON is %+v", partial)
	}
	if a := r.do(http.MethodDelete, path, "", "Accept", protobuf+",application/json"); a.code != http.StatusOK {
		t.Errorf("DELETE of all by a client that prefers protobuf: %d %s", a.code, a.body)
	}
}

func TestListsContinueWhereTheyEndedAtTheSameVersion(t *testing.T) {
	u := newUser(t)
	var manifests []string
	for i := range 7 {
		manifests = append(manifests, small(fmt.Sprintf("app-%d", i)))
	}
	u.apply(strings.Join(manifests, "---\n"))

	out := u.said("", "get", "httpapps", "-o", "name", "--chunk-size=3", "-v=6")
	if got := strings.Count(out, "continue="); got != 2 || strings.Count(out, "limit=3") != 3 {
		t.Errorf("7 apps in chunks of 3 took %d requests that continue:\n%s", got, out)
	}
	if got := strings.Count(out, "httpapp.apps.http.keda.sh/app-"); got != 7 {
		t.Errorf("%d of 7 apps were listed:\n%s", got, out)
	}

	r := newRaw(t)
	path := "/apis/apps.http.keda.sh/v1alpha1/namespaces/" + u.namespace + "/httpapps"
	type page struct {
		Metadata struct {
			ResourceVersion, Continue string
			RemainingItemCount        *int64
		}
		Items []struct{ Metadata struct{ Name string } }
		Rows  []struct{ Cells []any }
	}
	var first, second page
	r.get(path+"?limit=3", "application/json", &first)
	if len(first.Items) != 3 || first.Metadata.RemainingItemCount == nil || *first.Metadata.RemainingItemCount != 4 {
		t.Fatalf("the first page is %+v", first)
	}
	u.kubectl("delete", "httpapp", "app-4")
	r.get(path+"?limit=3&continue="+first.Metadata.Continue, "application/json;as=Table;v=v1;g=meta.k8s.io", &second)
	if second.Metadata.ResourceVersion != first.Metadata.ResourceVersion {
		t.Errorf("the second page is of version %s, the first of %s", second.Metadata.ResourceVersion, first.Metadata.ResourceVersion)
	}
	if len(second.Rows) != 3 || second.Rows[1].Cells[0] != "app-4" {
		t.Errorf("the second page, as a table, is %+v, and not as it was at the first's version", second.Rows)
	}
	var exact, now page
	r.get(path+"?resourceVersionMatch=Exact&resourceVersion="+first.Metadata.ResourceVersion, "application/json", &exact)
	r.get(path, "application/json", &now)
	if len(exact.Items) != 7 || len(now.Items) != 6 {
		t.Errorf("%d apps at the old version, %d now; 7 and 6 were expected", len(exact.Items), len(now.Items))
	}
}

// Whoever scales by discovery, as an HPA's controller does, has to find the scale and its kind there.
func TestDiscoveryTellsOfAppsAsOfDeployments(t *testing.T) {
	beside(t)
	r := newRaw(t)
	type subresource struct {
		Subresource  string
		ResponseKind struct{ Group, Version, Kind string }
		Verbs        []string
	}
	type resource struct {
		Name, Kind, Group, Version, StorageVersionHash string
		Namespaced                                     bool
		Verbs                                          []string
	}
	// One by one, as older clients ask, and of all groups at once.
	one := func(path, name string) map[string]resource {
		var list struct{ Resources []resource }
		r.get(path, "application/json", &list)
		found := map[string]resource{}
		for _, about := range list.Resources {
			if of, part, _ := strings.Cut(about.Name, "/"); of == name {
				about.Name = ""
				if part == "" || part == "status" {
					about.Kind = ""
				}
				if (about.StorageVersionHash == "") != (part != "") {
					t.Errorf("%s of %s says the storage version %q", part, path, about.StorageVersionHash)
				}
				about.StorageVersionHash = ""
				slices.Sort(about.Verbs)
				found[part] = about
			}
		}
		return found
	}
	if d, a := one("/apis/apps/v1", "deployments"), one("/apis/apps.http.keda.sh/v1alpha1", "httpapps"); !reflect.DeepEqual(d, a) {
		t.Errorf("of Deployments is told %+v\nof HTTPApps %+v", d, a)
	}
	var all struct {
		Items []struct {
			Metadata struct{ Name string }
			Versions []struct {
				Freshness string
				Resources []struct {
					Resource     string
					Subresources []subresource
				}
			}
		}
	}
	r.get("/apis", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", &all)
	scales := map[string]string{}
	for _, group := range all.Items {
		for _, resource := range group.Versions[0].Resources {
			for _, sub := range resource.Subresources {
				if sub.Subresource == "scale" {
					slices.Sort(sub.Verbs)
					scales[resource.Resource+"."+group.Metadata.Name] = fmt.Sprint(group.Versions[0].Freshness, sub)
				}
			}
		}
	}
	if d, a := scales["deployments.apps"], scales["httpapps.apps.http.keda.sh"]; d == "" || d != a {
		t.Errorf("the scale of Deployments is %q, of HTTPApps %q", d, a)
	}
}
