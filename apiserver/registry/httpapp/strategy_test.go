package httpapp

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/routes"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

func quantity(s string) resource.Quantity { return resource.MustParse(s) }

func template() *corev1.PodTemplateSpec {
	return &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "shop"}}}}
}

func newApp(name string, age int, hosts ...string) *v1alpha1.HTTPApp {
	app := &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{
		Namespace: "ns", Name: name, ResourceVersion: "1", CreationTimestamp: metav1.Unix(1000-int64(age), 0),
	}}
	app.Spec.Template = template()
	if len(hosts) > 0 {
		app.Spec.Routes = []v1alpha1.Route{{Hosts: hosts, PathPrefix: "/"}}
	}
	return app
}

func TestTheDefaultHostIsWrittenDownAndStays(t *testing.T) {
	s := strategy{domain: "example.com"}
	app := newApp("shop", 0)
	app.Status.URL = "http://made.up"
	s.PrepareForCreate(t.Context(), app)
	if got := app.Spec.Routes; len(got) != 1 || got[0].Hosts[0] != "shop.ns.example.com" || got[0].PathPrefix != "" {
		t.Errorf("the routes are %+v", got)
	}
	if app.Generation != 1 || app.Status.URL != "" {
		t.Errorf("generation %d, status %+v", app.Generation, app.Status)
	}
	again := newApp("shop", 0)
	again.Generation = 1
	s.PrepareForUpdate(t.Context(), again, app)
	if again.Generation != 1 || again.Spec.Routes[0].Hosts[0] != "shop.ns.example.com" {
		t.Errorf("without a change: generation %d, routes %+v", again.Generation, again.Spec.Routes)
	}
}

func TestOnlyTheSpecMovesTheGenerationAndOnlyTheStatusWriterTheStatus(t *testing.T) {
	s := strategy{domain: "example.com"}
	old := newApp("shop", 0, "a.com")
	old.Generation, old.Status.URL = 3, "http://a.com"

	app := old.DeepCopy()
	app.Labels, app.Status.URL, app.Status.Traffic = map[string]string{"a": "b"}, "http://b.com", &v1alpha1.Traffic{Pending: 1}
	s.PrepareForUpdate(t.Context(), app, old)
	if app.Generation != 3 || app.Status.URL != "http://a.com" || app.Status.Traffic != nil {
		t.Errorf("labels: generation %d, status %+v", app.Generation, app.Status)
	}
	app.Spec.Scaling.Paused = true
	if s.PrepareForUpdate(t.Context(), app, old); app.Generation != 4 {
		t.Errorf("spec: generation %d", app.Generation)
	}

	app = old.DeepCopy()
	app.Spec.Scaling.Paused, app.Labels = true, map[string]string{"a": "b"}
	app.Status.URL, app.Status.Traffic = "http://c.com", &v1alpha1.Traffic{Pending: 1}
	statusStrategy{s}.PrepareForUpdate(t.Context(), app, old)
	if app.Spec.Scaling.Paused || app.Labels != nil || app.Generation != 3 {
		t.Errorf("a status write changed %+v", app)
	}
	if app.Status.URL != "http://c.com" || app.Status.Traffic != nil {
		t.Errorf("the status is %+v", app.Status)
	}
}

func TestAWarningNamesTheOlderAppThatOwnsARoute(t *testing.T) {
	oldest, older, younger := newApp("oldest", 9, "a.com"), newApp("older", 5, "a.com", "b.com"), newApp("younger", 1, "c.com")
	known := routes.NewIndex()
	for _, app := range []*v1alpha1.HTTPApp{younger, older, oldest} {
		known.Set(app)
	}
	s := strategy{routes: known}
	warnings := s.WarningsOnCreate(t.Context(), newApp("new", 3, "a.com", "b.com", "c.com", "d.com"))
	if len(warnings) != 2 || !strings.Contains(warnings[0], "a.com/ belongs to the older app ns/oldest") || !strings.Contains(warnings[1], "b.com/ belongs to the older app ns/older") {
		t.Errorf("%q", warnings)
	}
	if warnings := s.WarningsOnUpdate(t.Context(), oldest, newApp("oldest", 9, "x.com")); len(warnings) > 0 {
		t.Errorf("the owner is warned: %q", warnings)
	}
	if warnings := s.WarningsOnUpdate(t.Context(), older, older); len(warnings) > 0 {
		t.Errorf("a write that does not touch the spec is warned about: %q", warnings)
	}
}

func TestARowSaysHowTheAppIs(t *testing.T) {
	ready := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Fine"}
	notReady := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: "NotReady"}
	for name, c := range map[string]struct {
		status  v1alpha1.HTTPAppStatus
		change  func(*v1alpha1.HTTPApp)
		pending int64
		want    string
	}{
		"nobody has looked at it": {v1alpha1.HTTPAppStatus{}, nil, 0, "Progressing"},
		"its spec has changed":    {v1alpha1.HTTPAppStatus{Conditions: []metav1.Condition{ready}}, func(a *v1alpha1.HTTPApp) { a.Generation = 2 }, 0, "Progressing"},
		"no replica":              {v1alpha1.HTTPAppStatus{Conditions: []metav1.Condition{ready}}, nil, 0, "Idle"},
		"no replica, paused":      {v1alpha1.HTTPAppStatus{Conditions: []metav1.Condition{ready}}, func(a *v1alpha1.HTTPApp) { a.Spec.Scaling.Paused = true }, 0, "Paused"},
		"requests wait":           {v1alpha1.HTTPAppStatus{Conditions: []metav1.Condition{ready}}, nil, 1, "Waking"},
		"requests wait for a pod": {v1alpha1.HTTPAppStatus{Conditions: []metav1.Condition{ready}, Replicas: 1}, nil, 1, "Waking"},
		"a pod comes up":          {v1alpha1.HTTPAppStatus{Conditions: []metav1.Condition{ready}, Replicas: 1}, nil, 0, "Progressing"},
		"all pods it may have have more to do than they are for": {v1alpha1.HTTPAppStatus{Conditions: []metav1.Condition{ready}, Replicas: 2, ReadyReplicas: 2},
			func(a *v1alpha1.HTTPApp) {
				a.Spec.Scaling.MaxReplicas, a.Spec.Scaling.Target = ptr.To[int32](2), ptr.To(resource.MustParse("3"))
			}, 7, "Saturated"},
		"they have as much as they are for": {v1alpha1.HTTPAppStatus{Conditions: []metav1.Condition{ready}, Replicas: 2, ReadyReplicas: 2},
			func(a *v1alpha1.HTTPApp) {
				a.Spec.Scaling.MaxReplicas, a.Spec.Scaling.Target = ptr.To[int32](2), ptr.To(resource.MustParse("3"))
			}, 6, "Ready"},
		"pods answer": {v1alpha1.HTTPAppStatus{Conditions: []metav1.Condition{ready}, Replicas: 2, ReadyReplicas: 1}, nil, 1, "Ready"},
		"a conflict": {v1alpha1.HTTPAppStatus{Conditions: []metav1.Condition{notReady,
			{Type: v1alpha1.ConditionWorkloadReady, Status: metav1.ConditionFalse, Reason: "Failed"},
			{Type: v1alpha1.ConditionRoutesAccepted, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonHostConflict}}}, nil, 0, "HostConflict"},
		"not ready, who knows why": {v1alpha1.HTTPAppStatus{Conditions: []metav1.Condition{notReady}}, nil, 0, "NotReady"},
		"on its way out":           {v1alpha1.HTTPAppStatus{}, func(a *v1alpha1.HTTPApp) { a.DeletionTimestamp = ptr.To(metav1.Now()) }, 0, "Terminating"},
	} {
		app := newApp("shop", 0, "a.com")
		app.Status = c.status
		if c.change != nil {
			c.change(app)
		}
		convertor := tableConvertor{viewOf(queue.Sample{Pending: c.pending, SampledAt: time.Unix(1, 0), Reporting: 1, Expected: 1})}
		table, err := convertor.ConvertToTable(t.Context(), app, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := table.Rows[0].Cells[8]; got != c.want {
			t.Errorf("%s: %v, not %s", name, got, c.want)
		}
		if len(table.Rows[0].Cells) != len(table.ColumnDefinitions) || table.ResourceVersion != "1" {
			t.Errorf("%s: %d cells in %d columns at version %q", name, len(table.Rows[0].Cells), len(table.ColumnDefinitions), table.ResourceVersion)
		}
	}
}

func TestATableOfAListContinuesAsTheListDoes(t *testing.T) {
	list := &v1alpha1.HTTPAppList{ListMeta: metav1.ListMeta{ResourceVersion: "9", Continue: "more", RemainingItemCount: ptr.To[int64](3)},
		Items: []v1alpha1.HTTPApp{*newApp("shop", 0, "a.com")}}
	list.Items[0].Spec.Routes[0].PathPrefix = "/api"
	table, err := tableConvertor{viewOf(queue.Sample{})}.ConvertToTable(t.Context(), list, &metav1.TableOptions{NoHeaders: true})
	if err != nil {
		t.Fatal(err)
	}
	if table.ResourceVersion != "9" || table.Continue != "more" || *table.RemainingItemCount != 3 || len(table.ColumnDefinitions) > 0 {
		t.Errorf("the table is %+v", table.ListMeta)
	}
	if cells := table.Rows[0].Cells; cells[1] != "http://a.com/api" || cells[3] != "<unknown>" || cells[4] != "<unknown>" || cells[5] != "<unknown>" {
		t.Errorf("the row is %v", cells)
	}
}
