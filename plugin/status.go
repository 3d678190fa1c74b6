package plugin

import (
	"context"
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
	"k8s.io/cli-runtime/pkg/genericiooptions"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/client/versioned/scheme"
)

// mostEvents is how many of the latest events are shown.
const mostEvents = 8

type statusOptions struct {
	genericiooptions.IOStreams
	factory    cmdutil.Factory
	apps       *apps
	name       string
	printFlags *genericclioptions.PrintFlags
}

func newStatusCommand(factory cmdutil.Factory, streams genericiooptions.IOStreams) *cobra.Command {
	o := &statusOptions{IOStreams: streams, factory: factory, printFlags: genericclioptions.NewPrintFlags("").WithTypeSetter(scheme.Scheme)}
	cmd := &cobra.Command{
		Use:   "status NAME",
		Short: "Say how an app is, and why",
		Long: "Say how an app is (serving, idle, waking or failing), why, what its requests do, and what happened to it.\n\n" +
			"Ends with 1 when the app is not healthy.",
		Example: "  status hello\n  status hello -o jsonpath={.status.traffic.pending}",
		Args:    exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o.name = args[0]
			if o.apps, err = newApps(factory); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	o.printFlags.AddFlags(cmd)
	return cmd
}

func (o *statusOptions) run(ctx context.Context) error {
	app, err := o.apps.get(ctx, o.name)
	if err != nil {
		return err
	}
	if o.printFlags.OutputFormat != nil && *o.printFlags.OutputFormat != "" {
		printer, err := o.printFlags.ToPrinter()
		if err != nil {
			return usageError(err)
		}
		if err := printer.PrintObj(app, o.Out); err != nil {
			return err
		}
	} else {
		events, err := o.events(ctx, app)
		if err != nil {
			return err
		}
		if err := describe(o.Out, app, events, time.Now()); err != nil {
			return err
		}
	}
	if state, _ := stateOf(app); state == failing {
		return exitError{code: ExitFailed}
	}
	return nil
}

// events are the latest of the app, oldest first. Not being allowed to read events is no reason to say nothing.
func (o *statusOptions) events(ctx context.Context, app *v1alpha1.HTTPApp) ([]corev1.Event, error) {
	clients, err := o.factory.KubernetesClientSet()
	if err != nil {
		return nil, err
	}
	list, err := clients.CoreV1().Events(app.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.Set{"involvedObject.uid": string(app.UID)}.String(),
	})
	if err != nil {
		fmt.Fprintf(o.ErrOut, "warning: no events: %v\n", err)
		return nil, nil
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
	switch {
	case app.Status.ReadyReplicas > 0:
		return serving, fmt.Sprintf("%d of %d replicas are ready", app.Status.ReadyReplicas, app.Status.Replicas)
	case waits:
		return waking, fmt.Sprintf("%d requests wait for its first replica", traffic.Pending)
	case app.Status.Replicas > 0:
		return waking, fmt.Sprintf("%d replicas are starting", app.Status.Replicas)
	default:
		return idle, "it has no replica, and wakes at the next request"
	}
}

func describe(out io.Writer, app *v1alpha1.HTTPApp, events []corev1.Event, now time.Time) error {
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
	for _, c := range app.Status.Conditions {
		fmt.Fprintf(w, "%s\t%s\t%s: %s\n", c.Type, c.Status, c.Reason, c.Message)
	}
	if err := w.Flush(); err != nil {
		return err
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
