package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// cluster is an API server for one test, for what no fake client does: what is asked goes by HTTP, as kubectl's own commands, raw
// requests and watches of tables do, through the clients that users have. It keeps objects, does what is asked of it at once, and
// reconciles an app into one that is ready.
type cluster struct {
	testing.TB
	server *httptest.Server

	// forbidden are what its user may not do, such as "patch httpapps" or "get pods/log".
	forbidden []string
	// away answers for a group by nothing (404, it is not installed) or by 503.
	away map[string]int
	// logs are what containers have written, by POD/CONTAINER, and in front of it "previous " for the run before.
	logs map[string]string

	mu      sync.Mutex
	changed *sync.Cond
	closed  bool
	objects map[key]*unstructured.Unstructured
	events  []event
	// writes are what has been changed, dry runs not among them.
	writes []string
}

type key struct{ kind, namespace, name string }

type event struct {
	kind   string
	what   watch.EventType
	object *unstructured.Unstructured
}

// kindsServed are the kinds that there are, by group and version.
var kindsServed = map[string][]metav1.APIResource{
	"v1": {
		{Name: "namespaces", Kind: "Namespace"}, {Name: "pods", Kind: "Pod", Namespaced: true}, {Name: "services", Kind: "Service", Namespaced: true},
		{Name: "events", Kind: "Event", Namespaced: true}, {Name: "configmaps", Kind: "ConfigMap", Namespaced: true},
		{Name: "serviceaccounts", Kind: "ServiceAccount", Namespaced: true},
	},
	"apps/v1": {
		{Name: "deployments", Kind: "Deployment", Namespaced: true}, {Name: "statefulsets", Kind: "StatefulSet", Namespaced: true},
		{Name: "replicasets", Kind: "ReplicaSet", Namespaced: true}, {Name: "controllerrevisions", Kind: "ControllerRevision", Namespaced: true},
	},
	"policy/v1": {{Name: "poddisruptionbudgets", Kind: "PodDisruptionBudget", Namespaced: true}},
	"rbac.authorization.k8s.io/v1": {
		{Name: "roles", Kind: "Role", Namespaced: true}, {Name: "rolebindings", Kind: "RoleBinding", Namespaced: true},
		{Name: "clusterroles", Kind: "ClusterRole"}, {Name: "clusterrolebindings", Kind: "ClusterRoleBinding"},
	},
	"apiextensions.k8s.io/v1":   {{Name: "customresourcedefinitions", Kind: "CustomResourceDefinition"}},
	"apiregistration.k8s.io/v1": {{Name: "apiservices", Kind: "APIService"}},
	"authorization.k8s.io/v1":   {{Name: "selfsubjectaccessreviews", Kind: "SelfSubjectAccessReview"}},
	"keda.sh/v1alpha1":          {{Name: "scaledobjects", Kind: "ScaledObject", Namespaced: true}},
	"apps.http.keda.sh/v1alpha1": {
		{Name: "httpapps", SingularName: "httpapp", Kind: "HTTPApp", Namespaced: true, ShortNames: []string{"ha"}},
		{Name: "httpapps/scale", Kind: "Scale", Namespaced: true, Group: "autoscaling", Version: "v1"},
	},
}

// newCluster starts a cluster that holds what it is given.
func newCluster(t testing.TB, objects ...runtime.Object) *cluster {
	c := &cluster{TB: t, objects: map[key]*unstructured.Unstructured{}, away: map[string]int{}, logs: map[string]string{}}
	c.changed = sync.NewCond(&c.mu)
	c.has(objects...)
	c.server = httptest.NewServer(c)
	t.Cleanup(func() {
		c.mu.Lock()
		c.closed = true
		c.changed.Broadcast()
		c.mu.Unlock()
		c.server.CloseClientConnections()
		c.server.Close()
	})
	return c
}

// has puts objects into the cluster, in the place of those of their names.
func (c *cluster) has(objects ...runtime.Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range objects {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			c.Fatal(err)
		}
		u := &unstructured.Unstructured{Object: content}
		if u.GetKind() == "" {
			kinds, _, err := printable.ObjectKinds(o)
			if err != nil {
				c.Fatal(err)
			}
			u.SetGroupVersionKind(kinds[0])
		}
		resource, ok := resourceOf(u.GroupVersionKind())
		if !ok {
			c.Fatalf("the cluster has no %s", u.GroupVersionKind())
		}
		if u.GetUID() == "" {
			u.SetUID(types.UID("u-" + u.GetName()))
		}
		c.keep(resource, u)
	}
}

// app changes the app hello before a command is called.
func (c *cluster) app(change func(*v1alpha1.HTTPApp)) {
	app := &v1alpha1.HTTPApp{}
	object := c.objects[key{"httpapps", "shop", "hello"}]
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, app); err != nil {
		c.Fatal(err)
	}
	change(app)
	c.has(app)
}

// lacks takes away what there is of a kind.
func (c *cluster) lacks(kind string) {
	maps.DeleteFunc(c.objects, func(k key, _ *unstructured.Unstructured) bool { return k.kind == kind })
}

// kubeconfig names the cluster, its user jo and the namespace shop.
func (c *cluster) kubeconfig() string {
	file := filepath.Join(c.TempDir(), "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: test\nclusters: [{name: test, cluster: {server: %q}}]\n"+
		"contexts: [{name: test, context: {cluster: test, user: jo, namespace: shop}}]\nusers: [{name: jo, user: {token: jo}}]\n", c.server.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		c.Fatal(err)
	}
	return file
}

func resourceOf(kind schema.GroupVersionKind) (string, bool) {
	for _, r := range kindsServed[kind.GroupVersion().String()] {
		if r.Kind == kind.Kind {
			return r.Name, true
		}
	}
	return "", false
}

// ask is a request, understood.
type ask struct {
	*http.Request
	group                                schema.GroupVersion
	verb, resource, sub, namespace, name string
}

// of is what it is about, as rights speak of it.
func (a ask) of() string { return strings.TrimSuffix(a.resource+"/"+a.sub, "/") }

func (a ask) key() key { return key{a.resource, a.namespace, a.name} }

func (a ask) dryRun() bool { return a.URL.Query().Get("dryRun") != "" }

func understand(r *http.Request) (a ask, ok bool) {
	a.Request = r
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case len(parts) > 2 && parts[0] == "api":
		a.group, parts = schema.GroupVersion{Version: parts[1]}, parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		a.group, parts = schema.GroupVersion{Group: parts[1], Version: parts[2]}, parts[3:]
	default:
		return a, false
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		a.namespace, parts = parts[1], parts[2:]
	}
	parts = append(parts, "", "")
	a.resource, a.name, a.sub = parts[0], parts[1], parts[2]
	a.verb = map[string]string{http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete"}[r.Method]
	if r.Method == http.MethodGet {
		switch {
		case a.name != "":
			a.verb = "get"
		case r.URL.Query().Get("watch") != "":
			a.verb = "watch"
		default:
			a.verb = "list"
		}
	}
	return a, true
}

// ServeHTTP answers as an API server does.
func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", noon.Format(http.TimeFormat))
	a, ok := understand(r)
	if !ok {
		c.discover(w, r)
		return
	}
	about := schema.GroupResource{Group: a.group.Group, Resource: a.resource}
	switch code := c.away[a.group.Group]; {
	case code == http.StatusNotFound:
		http.NotFound(w, r)
		return
	case code != 0:
		c.refuse(w, apierrors.NewServiceUnavailable("the server is currently unable to handle the request"))
		return
	case slices.Contains(c.forbidden, a.verb+" "+a.of()):
		where := ""
		if a.namespace != "" {
			where = fmt.Sprintf(" in the namespace %q", a.namespace)
		}
		c.refuse(w, apierrors.NewForbidden(about, a.name, fmt.Errorf("User %q cannot %s resource %q in API group %q%s", "jo", a.verb, a.of(), a.group.Group, where)))
		return
	case a.verb == "watch":
		c.watch(w, a)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	answer, err := c.answer(a)
	if err != nil {
		c.refuse(w, err)
		return
	}
	if text, ok := answer.(string); ok {
		_, _ = io.WriteString(w, text)
		return
	}
	c.tell(w, answer)
}

func (c *cluster) tell(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		c.Error(err)
	}
}

func (c *cluster) refuse(w http.ResponseWriter, err error) {
	status := apierrors.APIStatus(nil)
	if s, ok := err.(apierrors.APIStatus); ok {
		status = s
	} else {
		status = apierrors.NewInternalError(err)
	}
	said := status.Status()
	said.Kind, said.APIVersion = "Status", "v1"
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(said.Code))
	if err := json.NewEncoder(w).Encode(said); err != nil {
		c.Error(err)
	}
}

// discover answers what is about no object: which kinds there are, and which versions.
func (c *cluster) discover(w http.ResponseWriter, r *http.Request) {
	path := strings.Trim(r.URL.Path, "/")
	switch {
	case path == "version":
		c.tell(w, version.Info{Major: "1", Minor: "36", GitVersion: "v1.36.2"})
		return
	case path == "api":
		c.tell(w, metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}})
		return
	case path == "apis":
		list := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
		for _, name := range slices.Sorted(maps.Keys(kindsServed)) {
			gv, err := schema.ParseGroupVersion(name)
			if err != nil || gv.Group == "" || c.away[gv.Group] == http.StatusNotFound {
				continue
			}
			v := metav1.GroupVersionForDiscovery{GroupVersion: name, Version: gv.Version}
			list.Groups = append(list.Groups, metav1.APIGroup{Name: gv.Group, Versions: []metav1.GroupVersionForDiscovery{v}, PreferredVersion: v})
		}
		c.tell(w, list)
		return
	case path == "openapi/v3/apis/"+v1alpha1.SchemeGroupVersion.String() && c.away[v1alpha1.GroupName] == 0:
		c.tell(w, map[string]any{"info": map[string]string{"version": "v0.9.1"}})
		return
	}
	name := strings.TrimPrefix(strings.TrimPrefix(path, "apis/"), "api/")
	resources, ok := kindsServed[name]
	if gv, err := schema.ParseGroupVersion(name); !ok || err != nil || c.away[gv.Group] == http.StatusNotFound {
		http.NotFound(w, r)
		return
	}
	c.tell(w, metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: name, APIResources: withVerbs(resources)})
}

func withVerbs(resources []metav1.APIResource) (all []metav1.APIResource) {
	for _, r := range resources {
		r.Verbs = metav1.Verbs{"create", "delete", "get", "list", "patch", "update", "watch"}
		all = append(all, r)
	}
	return all
}

// answer does what is asked. It is called with the cluster locked.
func (c *cluster) answer(a ask) (any, error) {
	body, err := io.ReadAll(a.Body)
	if err != nil {
		return nil, err
	}
	switch {
	case a.resource == "selfsubjectaccessreviews":
		return c.review(body)
	case a.verb == "list":
		return c.list(a)
	case a.verb == "create":
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(body); err != nil {
			return nil, err
		}
		a.name = object.GetName()
		return c.put(a, object), nil
	}
	there := c.objects[a.key()]
	if there == nil && a.Header.Get("Content-Type") != string(types.ApplyPatchType) {
		return nil, apierrors.NewNotFound(schema.GroupResource{Group: a.group.Group, Resource: a.resource}, a.name)
	}
	switch {
	case a.sub == "log":
		return c.log(a), nil
	case a.sub == "scale":
		return c.scale(a, there, body)
	case a.verb == "get":
		if strings.Contains(a.Header.Get("Accept"), "as=Table") {
			return table(a.resource, []*unstructured.Unstructured{there}), nil
		}
		return there, nil
	case a.verb == "delete":
		var opts struct{ DryRun []string }
		if len(body) > 0 {
			if err := json.Unmarshal(body, &opts); err != nil {
				return nil, err
			}
		}
		if len(opts.DryRun) == 0 {
			delete(c.objects, a.key())
			c.note(a, watch.Deleted, there)
		}
		return metav1.Status{
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess,
			Details: &metav1.StatusDetails{Name: a.name, Group: a.group.Group, Kind: a.resource, UID: there.GetUID()},
		}, nil
	case a.verb == "update":
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(body); err != nil {
			return nil, err
		}
		return c.put(a, object), nil
	}
	changed, err := c.patched(a, there, body)
	if err != nil {
		return nil, err
	}
	return c.put(a, changed), nil
}

// patched is an object after a patch, of the kinds that the plugin sends.
func (c *cluster) patched(a ask, there *unstructured.Unstructured, body []byte) (*unstructured.Unstructured, error) {
	var patch map[string]any
	if err := yaml.Unmarshal(body, &patch); err != nil {
		return nil, err
	}
	before := map[string]any{}
	if there != nil {
		before = there.DeepCopy().Object
	}
	if rv, ok, _ := unstructured.NestedString(patch, "metadata", "resourceVersion"); ok && rv != there.GetResourceVersion() {
		return nil, apierrors.NewConflict(schema.GroupResource{Group: a.group.Group, Resource: a.resource}, a.name, fmt.Errorf("it is at %s", there.GetResourceVersion()))
	}
	if a.Header.Get("Content-Type") == string(types.StrategicMergePatchType) {
		typed, err := printable.New(there.GroupVersionKind())
		if err != nil {
			return nil, err
		}
		after, err := strategicpatch.StrategicMergeMapPatch(before, patch, typed)
		return &unstructured.Unstructured{Object: after}, err
	}
	merge(before, patch)
	return &unstructured.Unstructured{Object: before}, nil
}

func merge(into, from map[string]any) {
	for name, value := range from {
		inner, isMap := value.(map[string]any)
		there, wasMap := into[name].(map[string]any)
		switch {
		case value == nil:
			delete(into, name)
		case isMap && wasMap:
			merge(there, inner)
		default:
			into[name] = value
		}
	}
}

// put keeps what was written, as it is after the controllers have seen it.
func (c *cluster) put(a ask, object *unstructured.Unstructured) *unstructured.Unstructured {
	before := c.objects[a.key()]
	if before == nil {
		object.SetUID(types.UID("u-" + object.GetName()))
		object.SetCreationTimestamp(metav1.NewTime(noon))
	}
	c.reconcile(a, before, object)
	if a.dryRun() {
		return object
	}
	what := watch.Modified
	if before == nil {
		what = watch.Added
	}
	c.keep(a.resource, object)
	c.note(a, what, object)
	return object
}

// keep is put without anybody hearing of it.
func (c *cluster) keep(resource string, object *unstructured.Unstructured) {
	if object.GetResourceVersion() == "" || c.objects[key{resource, object.GetNamespace(), object.GetName()}] != nil {
		object.SetResourceVersion(strconv.Itoa(100 + len(c.events) + 1))
	}
	c.objects[key{resource, object.GetNamespace(), object.GetName()}] = object
}

func (c *cluster) note(a ask, what watch.EventType, object *unstructured.Unstructured) {
	c.writes = append(c.writes, strings.ToLower(string(what))+" "+a.resource+"/"+a.name)
	c.events = append(c.events, event{a.resource, what, object.DeepCopy()})
	c.changed.Broadcast()
}

// reconcile makes what the controllers would make of an object.
func (c *cluster) reconcile(a ask, before, object *unstructured.Unstructured) {
	same := before != nil && fmt.Sprint(before.Object["spec"]) == fmt.Sprint(object.Object["spec"])
	switch a.resource {
	case "httpapps":
		app := &v1alpha1.HTTPApp{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, app); err != nil {
			c.Error(err)
		}
		v1alpha1.SetObjectDefaults_HTTPApp(app)
		if len(app.Spec.Routes) == 0 {
			app.Spec.Routes = []v1alpha1.Route{{Hosts: []string{app.Name + "." + app.Namespace + ".example.com"}, PathPrefix: "/"}}
		}
		if !same {
			app.Generation++
		}
		if meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady) == nil {
			app.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Ready", Message: "requests to the app's URL are answered"}}
		}
		app.Status.ObservedGeneration = app.Generation
		app.Status.URL = "http://" + app.Spec.Routes[0].Hosts[0]
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(app)
		if err != nil {
			c.Error(err)
		}
		object.Object = content
		object.SetGroupVersionKind(v1alpha1.SchemeGroupVersion.WithKind("HTTPApp"))
	case "deployments":
		n, ok, _ := unstructured.NestedFieldNoCopy(object.Object, "spec", "replicas")
		if !ok {
			n = int64(1)
		}
		object.SetGeneration(object.GetGeneration() + 1)
		object.Object["status"] = map[string]any{"observedGeneration": object.GetGeneration(), "replicas": n, "updatedReplicas": n, "readyReplicas": n, "availableReplicas": n}
	case "apiservices":
		object.Object["status"] = map[string]any{"conditions": []any{map[string]any{"type": "Available", "status": "True", "reason": "Passed", "message": "all checks passed"}}}
	}
}

func (c *cluster) review(body []byte) (any, error) {
	review := &authorizationv1.SelfSubjectAccessReview{}
	if err := runtime.DecodeInto(scheme.Codecs.UniversalDeserializer(), body, review); err != nil { // it comes as protobuf
		return nil, err
	}
	about := review.Spec.ResourceAttributes
	review.Status.Allowed = !slices.Contains(c.forbidden, about.Verb+" "+strings.TrimSuffix(about.Resource+"/"+about.Subresource, "/"))
	review.SetGroupVersionKind(authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectAccessReview"))
	return review, nil
}

// log is what a container has written, or the last lines of it.
func (c *cluster) log(a ask) string {
	q := a.URL.Query()
	text := a.name + "/" + q.Get("container")
	if q.Get("previous") == "true" {
		text = "previous " + text
	}
	lines := slices.Collect(strings.Lines(c.logs[text]))
	if tail, err := strconv.Atoi(q.Get("tailLines")); err == nil {
		lines = lines[max(0, len(lines)-tail):]
	}
	if q.Get("timestamps") == "true" {
		for i, line := range lines {
			lines[i] = fmt.Sprintf("2026-07-01T11:59:%02d.000000001Z %s", 50+i, line)
		}
	}
	return strings.Join(lines, "")
}

// scale reads and writes how many replicas an app has.
func (c *cluster) scale(a ask, there *unstructured.Unstructured, body []byte) (any, error) {
	app := &v1alpha1.HTTPApp{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(there.Object, app); err != nil {
		return nil, err
	}
	if a.verb == "update" {
		var scale struct{ Spec struct{ Replicas int32 } }
		if err := json.Unmarshal(body, &scale); err != nil {
			return nil, err
		}
		if most := *app.Spec.Scaling.MaxReplicas; scale.Spec.Replicas > most {
			return nil, apierrors.NewInvalid(schema.GroupKind{Group: a.group.Group, Kind: "HTTPApp"}, a.name, field.ErrorList{
				field.Invalid(field.NewPath("spec", "replicas"), scale.Spec.Replicas, fmt.Sprintf("must not be more than spec.scaling.maxReplicas of the app, which is %d", most)),
			})
		}
		app.Status.Replicas, app.Status.ReadyReplicas = scale.Spec.Replicas, scale.Spec.Replicas
		if !a.dryRun() {
			content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(app)
			if err != nil {
				return nil, err
			}
			object := &unstructured.Unstructured{Object: content}
			object.SetGroupVersionKind(there.GroupVersionKind())
			c.keep(a.resource, object)
			c.note(a, watch.Modified, object)
		}
	}
	return map[string]any{
		"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": map[string]any{"name": app.Name, "namespace": app.Namespace, "resourceVersion": app.ResourceVersion},
		"spec":   map[string]any{"replicas": app.Status.Replicas},
		"status": map[string]any{"replicas": app.Status.Replicas, "selector": v1alpha1.AppLabel + "=" + app.Name},
	}, nil
}

// wanted says whether an object is among those that a list or a watch is about.
func (a ask) wanted(o *unstructured.Unstructured) bool {
	if a.namespace != "" && o.GetNamespace() != a.namespace {
		return false
	}
	q := a.URL.Query()
	if selector, err := labels.Parse(q.Get("labelSelector")); err != nil || !selector.Matches(labels.Set(o.GetLabels())) {
		return false
	}
	selector, err := fields.ParseSelector(q.Get("fieldSelector"))
	if err != nil {
		return false
	}
	for _, r := range selector.Requirements() {
		value, _, _ := unstructured.NestedString(o.Object, strings.Split(r.Field, ".")...)
		if r.Field == v1alpha1.FieldReady {
			value = readyOf(o)
		}
		if (value == r.Value) != (r.Operator != "!=") {
			return false
		}
	}
	return true
}

// readyOf is an app's condition Ready, by which apps are selected.
func readyOf(o *unstructured.Unstructured) string {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range conditions {
		if c := c.(map[string]any); c["type"] == v1alpha1.ConditionReady {
			return c["status"].(string)
		}
	}
	return "Unknown"
}

func (c *cluster) list(a ask) (any, error) {
	var found []*unstructured.Unstructured
	for k, o := range c.objects {
		if k.kind == a.resource && a.wanted(o) {
			found = append(found, o)
		}
	}
	slices.SortFunc(found, func(a, b *unstructured.Unstructured) int {
		return strings.Compare(a.GetNamespace()+"/"+a.GetName(), b.GetNamespace()+"/"+b.GetName())
	})
	if strings.Contains(a.Header.Get("Accept"), "as=Table") {
		return table(a.resource, found), nil
	}
	kind := ""
	for _, r := range kindsServed[a.group.String()] {
		if r.Name == a.resource {
			kind = r.Kind
		}
	}
	items := []any{}
	for _, o := range found {
		items = append(items, o.Object)
	}
	return map[string]any{"kind": kind + "List", "apiVersion": a.group.String(), "metadata": map[string]any{"resourceVersion": strconv.Itoa(100 + len(c.events))}, "items": items}, nil
}

// table is a server's table of objects, with fewer columns than the real one.
func table(resource string, objects []*unstructured.Unstructured) *metav1.Table {
	t := &metav1.Table{TypeMeta: metav1.TypeMeta{Kind: "Table", APIVersion: "meta.k8s.io/v1"}, ColumnDefinitions: []metav1.TableColumnDefinition{{Name: "Name", Type: "string", Format: "name"}}}
	if resource == "httpapps" {
		t.ColumnDefinitions = append(t.ColumnDefinitions, metav1.TableColumnDefinition{Name: "Ready", Type: "string"}, metav1.TableColumnDefinition{Name: "Status", Type: "string"}, metav1.TableColumnDefinition{Name: "Age", Type: "string"})
	}
	for _, o := range objects {
		cells := []any{o.GetName()}
		if resource == "httpapps" {
			ready, _, _ := unstructured.NestedInt64(o.Object, "status", "readyReplicas")
			replicas, _, _ := unstructured.NestedInt64(o.Object, "status", "replicas")
			word := map[string]string{"True": "Ready", "Unknown": "Progressing", "False": "CrashLoopBackOff"}[readyOf(o)]
			if word == "Ready" && replicas == 0 {
				word = "Idle"
			}
			cells = append(cells, fmt.Sprintf("%d/%d", ready, replicas), word, "60m")
		}
		t.Rows = append(t.Rows, metav1.TableRow{Cells: cells, Object: runtime.RawExtension{Object: &metav1.PartialObjectMetadata{
			TypeMeta:   metav1.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: "meta.k8s.io/v1"},
			ObjectMeta: metav1.ObjectMeta{Name: o.GetName(), Namespace: o.GetNamespace(), UID: o.GetUID(), ResourceVersion: o.GetResourceVersion()},
		}}})
	}
	return t
}

// watch tells what changes until nobody listens any more, and first what there is if that was asked for.
func (c *cluster) watch(w http.ResponseWriter, a ask) {
	q := a.URL.Query()
	rv, initial := q.Get("resourceVersion"), q.Get("sendInitialEvents") == "true"
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/json")
	send := func(what watch.EventType, o *unstructured.Unstructured) {
		var object any = o
		if strings.Contains(a.Header.Get("Accept"), "as=Table") {
			object = table(a.resource, []*unstructured.Unstructured{o})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"type": what, "object": object}) // whoever listened may be gone
		_ = out.Flush()
	}
	stop := func() bool { return c.closed || a.Context().Err() != nil }
	defer context.AfterFunc(a.Context(), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.changed.Broadcast()
	})()
	c.mu.Lock()
	defer c.mu.Unlock()
	at := len(c.events)
	if from, err := strconv.Atoi(rv); err == nil && from > 0 && !initial {
		at = min(at, from-100)
	} else {
		for k, o := range c.objects {
			if k.kind == a.resource && a.wanted(o) {
				send(watch.Added, o)
			}
		}
	}
	if initial {
		mark := &unstructured.Unstructured{}
		for _, r := range kindsServed[a.group.String()] {
			if r.Name == a.resource {
				mark.SetGroupVersionKind(a.group.WithKind(r.Kind))
			}
		}
		mark.SetResourceVersion(strconv.Itoa(100 + at))
		mark.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
		send(watch.Bookmark, mark)
	}
	_ = out.Flush()
	for !stop() {
		for ; at < len(c.events); at++ {
			if e := c.events[at]; e.kind == a.resource && a.wanted(e.object) {
				send(e.what, e.object)
			}
		}
		c.changed.Wait()
	}
}

// said is what is written by several at a time.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
	// hear is told all of it whenever there is more.
	hear func(text string)
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.text.Write(p)
	s.hear(s.text.String())
	return n, err
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}
