package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// mostEvents is how many of the latest events are shown.
const mostEvents = 8

type statusOptions struct {
	*session
	oneApp
	print *genericclioptions.PrintFlags
	watch bool
}

func newStatusCommand(s *session) *cobra.Command {
	o := &statusOptions{session: s, print: genericclioptions.NewPrintFlags("").WithTypeSetter(printable)}
	cmd := &cobra.Command{
		Use:     "status NAME",
		Aliases: []string{"describe"},
		Short:   "Say how an app is, and why",
		Long: "Say how an app is, why, what its requests do, and what happened to it.\n\n" +
			"It is serving (a replica is ready), idle (it has none, and wakes at the next request), waking, paused, starting (its parts are being\n" +
			"made) or failing. The exit code is 1 when it is failing. With --watch it is told again whenever it changes, until interrupted.",
		Example:           s.examples("status hello", "status hello -w", "status hello -o jsonpath={.status.traffic.pending}"),
		Args:              exactly("NAME"),
		ValidArgsFunction: s.completeApp(1),
		RunE:              s.runs(o),
	}
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "Go on, and tell what changes.")
	o.print.AddFlags(cmd)
	completeOutput(cmd, o.print.AllowedFormats())
	return cmd
}

func (o *statusOptions) validate() error {
	_, err := o.print.ToPrinter()
	return errors.Join(o.oneApp.validate(), err)
}

func (o *statusOptions) run(ctx context.Context) error {
	c, err := o.connect()
	if err != nil {
		return err
	}
	if o.watch {
		return o.follow(ctx, c)
	}
	app, err := c.get(ctx, o.name)
	if err != nil {
		return err
	}
	if err := o.tell(ctx, c, app, o.Out); err != nil {
		return err
	}
	if state, _ := stateOf(app); state == failing {
		return exitError{code: ExitFailed}
	}
	return nil
}

func (o *statusOptions) tell(ctx context.Context, c *clients, app *v1alpha1.HTTPApp, out io.Writer) error {
	if *o.print.OutputFormat != "" {
		printer, err := o.print.ToPrinter()
		if err != nil {
			return err
		}
		return printer.PrintObj(app, out)
	}
	events, err := c.events(ctx, app)
	if err != nil {
		fmt.Fprintf(o.ErrOut, "warning: no events: %v\n", err)
	}
	var trouble []string
	if state, _ := stateOf(app); state == failing || state == waking || state == starting {
		trouble = c.trouble(ctx, app, o.now())
	}
	return describe(out, app, trouble, events, o.now())
}

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

// state is how an app is, in one word.
type state string

const (
	serving state = "serving"
	idle    state = "idle"
	waking  state = "waking"
	paused  state = "paused"
	// starting is an app whose parts are being made.
	starting state = "starting"
	failing  state = "failing"
)

// stateOf returns how an app is, and why in a sentence.
func stateOf(app *v1alpha1.HTTPApp) (state, string) {
	traffic := app.Status.Traffic
	waits := traffic != nil && traffic.Pending > 0
	if !meta.IsStatusConditionTrue(app.Status.Conditions, v1alpha1.ConditionReady) {
		c := firstFalse(app)
		switch {
		case c == nil || app.Status.ObservedGeneration < app.Generation:
			return starting, "its latest change has not been seen yet"
		case c.Status == metav1.ConditionUnknown:
			return starting, c.Message
		}
		return failing, fmt.Sprintf("%s: %s", c.Reason, c.Message)
	}
	waiting := ""
	if waits {
		waiting = fmt.Sprintf("; %d requests wait", traffic.Pending)
	}
	switch {
	case app.Status.ReadyReplicas > 0:
		return serving, fmt.Sprintf("%d of %d replicas are ready", app.Status.ReadyReplicas, app.Status.Replicas)
	case app.Spec.Scaling.Paused:
		return paused, "it has no replica, and is not woken until it is resumed" + waiting
	case waits:
		return waking, fmt.Sprintf("%d requests wait for its first replica", traffic.Pending)
	case app.Status.Replicas > 0:
		return waking, fmt.Sprintf("%d replicas are starting", app.Status.Replicas)
	default:
		return idle, "it has no replica, and wakes at the next request"
	}
}

func describe(out io.Writer, app *v1alpha1.HTTPApp, trouble []string, events []corev1.Event, now time.Time) error {
	state, why := stateOf(app)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s/%s\t%s: %s\n", app.Namespace, app.Name, state, why)
	fmt.Fprintf(w, "URL\t%s\n", urlOf(app))
	fmt.Fprintf(w, "Replicas\t%d ready of %d%s\n", app.Status.ReadyReplicas, app.Status.Replicas, bounds(app.Spec.Scaling))
	if t := app.Status.Traffic; t == nil {
		fmt.Fprintf(w, "Requests\tunknown: no interceptor has reported\n")
	} else {
		fmt.Fprintf(w, "Requests\t%d pending, %d in flight, %s/s, %s at a time on average%s\n",
			t.Pending, t.InFlight, t.RequestRate.String(), t.Concurrency.String(), completeness(t))
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
