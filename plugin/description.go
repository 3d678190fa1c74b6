package plugin

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// mostEvents is how many of the latest events are shown.
const mostEvents = 8

// events are the latest of the app, oldest first.
func (c *clients) events(ctx context.Context, app *v1alpha1.HTTPApp) ([]corev1.Event, error) {
	list, err := c.kubernetes.CoreV1().Events(app.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.Set{"involvedObject.uid": string(app.UID)}.String(),
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(list.Items, func(a, b corev1.Event) int { return when(a).Compare(when(b)) })
	return list.Items[max(0, len(list.Items)-mostEvents):], nil
}

func when(e corev1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	default:
		return e.EventTime.Time
	}
}

func describe(out io.Writer, app *v1alpha1.HTTPApp, trouble []string, events []corev1.Event, now time.Time, colors palette) error {
	state, why := stateOf(app)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s/%s\t%s: %s\n", app.Namespace, app.Name, colors.state(state, string(state)), why)
	fmt.Fprintf(w, "URL\t%s\n", urlOf(app))
	fmt.Fprintf(w, "Replicas\t%d ready of %d%s\n", app.Status.ReadyReplicas, app.Status.Replicas, bounds(app.Spec.Scaling))
	if t := app.Status.Traffic; t == nil {
		fmt.Fprintf(w, "Requests\tunknown: no interceptor has reported\n")
	} else {
		fmt.Fprintf(w, "Requests\t%d pending, %d in flight, %s/s, %s at a time on average%s\n",
			t.Pending, t.InFlight, number(valueOf(t.RequestRate)), number(valueOf(t.Concurrency)), completeness(t))
		if t.LastRequestTime != nil {
			fmt.Fprintf(w, "Last request\t%s ago; %d cold starts\n", duration.HumanDuration(now.Sub(t.LastRequestTime.Time)), t.ColdStarts)
		}
		if s := t.LastColdStart; s != nil {
			fmt.Fprintf(w, "Last cold start\t%s ago, in %s: %s\n", duration.HumanDuration(now.Sub(s.Time.Time)), s.Total.Duration, stages(s))
		}
	}
	if h := holdOf(app); h != nil {
		fmt.Fprintf(w, "Held\tby %s, until %s\n", h.By, h.Until.UTC().Format(time.RFC3339))
	}
	for _, c := range app.Status.Conditions {
		fmt.Fprintf(w, "%s\t%s\t%s: %s\n", c.Type, c.Status, c.Reason, c.Message)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(trouble) > 0 {
		fmt.Fprintf(out, "\n%s\n", strings.Join(trouble, "\n"))
	}
	if len(events) == 0 {
		return nil
	}
	fmt.Fprintln(out, "\nEvents")
	w = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, e := range events {
		fmt.Fprintf(w, "%s ago\t%s\t%s\n", duration.HumanDuration(now.Sub(when(e))), e.Reason, strings.TrimSpace(e.Message))
	}
	return w.Flush()
}

func stages(start *v1alpha1.CompleteColdStart) string {
	var all []string
	for _, stage := range start.Stages {
		all = append(all, fmt.Sprintf("%s %s", stage.Name, stage.After.Duration))
	}
	return strings.Join(all, ", ")
}

func bounds(s v1alpha1.Scaling) string {
	if s.MinReplicas == nil || s.MaxReplicas == nil {
		return ""
	}
	return fmt.Sprintf(", between %d and %d", *s.MinReplicas, *s.MaxReplicas)
}

func completeness(t *v1alpha1.Traffic) string {
	if t.Interceptors.Reporting >= t.Interceptors.Expected {
		return ""
	}
	return fmt.Sprintf(" (at least: only %d of %d interceptors report)", t.Interceptors.Reporting, t.Interceptors.Expected)
}
