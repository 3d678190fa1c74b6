package httpapp

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metatable "k8s.io/apimachinery/pkg/api/meta/table"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/demand"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/live"
	"github.com/kedahttp/kedahttp/apiserver/workload"
	"github.com/kedahttp/kedahttp/interceptor/queue"
)

const ofNow = " Live; " + live.Unknown + " while no interceptor has reported, and with a ~ in front while some are missing."

var columns = []metav1.TableColumnDefinition{
	{Name: "Name", Type: "string", Format: "name", Description: "The name of the app."},
	{Name: "URL", Type: "string", Description: "Where the app is reached: its first route."},
	{Name: "Ready", Type: "string", Description: "How many pods are ready, of how many there are."},
	{Name: "Pending", Type: "string", Description: "Requests that wait for a pod." + ofNow},
	{Name: "In-Flight", Type: "string", Description: "Requests that a pod is answering." + ofNow},
	{Name: "Req/s", Type: "string", Description: "Requests that arrived per second, over the last 10 seconds." + ofNow},
	{Name: "Min", Type: "integer", Description: "The fewest replicas."},
	{Name: "Max", Type: "integer", Description: "The most replicas."},
	{Name: "Status", Type: "string", Description: "Ready, Saturated (requests call for more replicas than it may have), Idle (no replica, as nothing asks for one), Waking, Paused, Progressing, Terminating, or the reason why the app is not ready."},
	{Name: "Age", Type: "string", Description: "How long ago the app was created."},
	{Name: "Workload", Type: "string", Priority: 1, Description: "What runs the app."},
	{Name: "Metric", Type: "string", Priority: 1, Description: "What the number of replicas follows, and how much of it one replica is for."},
	{Name: "Autoscaler", Type: "string", Priority: 1, Description: "Who scales the app."},
}

// tableConvertor makes the rows that kubectl get prints.
type tableConvertor struct{ view *live.View }

var _ rest.TableConvertor = tableConvertor{}

// ConvertToTable implements rest.TableConvertor.
func (c tableConvertor) ConvertToTable(_ context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	table := &metav1.Table{}
	if opts, ok := options.(*metav1.TableOptions); !ok || !opts.NoHeaders {
		table.ColumnDefinitions = columns
	}
	if m, err := meta.ListAccessor(obj); err == nil {
		table.ResourceVersion, table.Continue, table.RemainingItemCount = m.GetResourceVersion(), m.GetContinue(), m.GetRemainingItemCount()
	} else if m, err := meta.CommonAccessor(obj); err == nil {
		table.ResourceVersion = m.GetResourceVersion()
	}
	var err error
	table.Rows, err = metatable.MetaToTableRow(obj, func(obj runtime.Object, _ metav1.Object, _, age string) ([]any, error) {
		app, ok := obj.(*v1alpha1.HTTPApp)
		if !ok {
			return nil, fmt.Errorf("%T cannot be a row of httpapps", obj)
		}
		return c.row(app, age), nil
	})
	return table, err
}

func (c tableConvertor) row(app *v1alpha1.HTTPApp, age string) []any {
	sample, known := c.view.Sample(types.NamespacedName{Namespace: app.Namespace, Name: app.Name})
	cells := live.CellsOf(sample, known)
	least, most := demand.Bounds(app)
	ref := workload.RefOf(app)
	metric := cmp.Or(string(app.Spec.Scaling.Metric), string(v1alpha1.MetricConcurrency))
	if t := app.Spec.Scaling.Target; t != nil {
		metric += "/" + t.String()
	}
	return []any{
		app.Name, address(app),
		fmt.Sprintf("%d/%d", app.Status.ReadyReplicas, app.Status.Replicas),
		cells.Pending, cells.InFlight, cells.RequestRate,
		int64(least), int64(most),
		word(app, sample), age,
		ref.Kind + "/" + ref.Name, metric, string(app.Spec.Scaling.Autoscaler),
	}
}

// address is where the app is reached, or will be.
func address(app *v1alpha1.HTTPApp) string {
	if app.Status.URL != "" {
		return app.Status.URL
	}
	if len(app.Spec.Routes) == 0 || len(app.Spec.Routes[0].Hosts) == 0 {
		return "<none>"
	}
	u := url.URL{Scheme: "http", Host: app.Spec.Routes[0].Hosts[0]}
	if p := app.Spec.Routes[0].PathPrefix; p != "/" {
		u.Path = p
	}
	return u.String()
}

// word says in one word how the app is.
func word(app *v1alpha1.HTTPApp, now queue.Sample) string {
	if app.DeletionTimestamp != nil {
		return "Terminating"
	}
	ready := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || app.Status.ObservedGeneration < app.Generation {
		return "Progressing"
	}
	if ready.Status != metav1.ConditionTrue {
		// The most telling of what is wrong: without a route, nothing else matters.
		for _, t := range []string{v1alpha1.ConditionRoutesAccepted, v1alpha1.ConditionWorkloadReady, v1alpha1.ConditionScalerReady} {
			if c := meta.FindStatusCondition(app.Status.Conditions, t); c != nil && c.Status == metav1.ConditionFalse {
				return cmp.Or(c.Reason, "Failed")
			}
		}
		return cmp.Or(ready.Reason, "Progressing")
	}
	_, most := demand.Bounds(app)
	switch {
	case app.Status.ReadyReplicas >= most && demand.Exceeds(app, now.Pending+now.InFlight, now.RequestRate):
		return "Saturated"
	case app.Status.ReadyReplicas > 0:
		return "Ready"
	case now.Pending > 0:
		return "Waking"
	case app.Spec.Scaling.Paused:
		return "Paused"
	case app.Status.Replicas == 0:
		return "Idle"
	}
	return "Progressing"
}

var scaleColumns = []metav1.TableColumnDefinition{
	{Name: "Name", Type: "string", Format: "name", Description: "The name of the app."},
	{Name: "Desired", Type: "integer", Description: "How many replicas its workload should have."},
	{Name: "Available", Type: "integer", Description: "How many it has."},
	{Name: "Age", Type: "string", Description: "How long ago the app was created."},
}

// age is how kubectl writes it.
func age(t metav1.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return metatable.ConvertToHumanReadableDateType(metav1.Time{Time: t.Time.Round(time.Second)})
}
