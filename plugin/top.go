package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

type topOptions struct {
	*session
	name   string
	all    bool
	labels string
	output string
	once   bool
	coloring
}

func newTopCommand(s *session) *cobra.Command {
	o := &topOptions{session: s}
	cmd := &cobra.Command{
		Use:   "top [NAME]",
		Short: "Watch apps live: queues, requests, replicas",
		Long: "Watch apps live: how many requests wait, are being answered and arrive, how many replicas there are, how many cold starts there were.\n\n" +
			"On a terminal it fills the screen: the arrows choose an app, enter opens it, s and S sort, / filters, q quits. Elsewhere there is a\n" +
			"line for each change, or with -o json an object on each line.",
		Example: s.examples("top", "top -A", "top hello", "top -o json"),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return exactly("NAME")(cmd, args)
		},
		ValidArgsFunction: s.completeApp(1),
		RunE:              s.runs(o),
	}
	cmd.Flags().BoolVarP(&o.all, "all-namespaces", "A", false, "The apps of all namespaces.")
	cmd.Flags().StringVarP(&o.labels, "selector", "l", "", "The apps with these labels.")
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "json: an object for each change, each on a line.")
	cmd.Flags().BoolVar(&o.once, "once", false, "Tell how it is now, and end.")
	completeOutput(cmd, []string{"json"})
	o.coloring.addFlags(cmd)
	return cmd
}

func (o *topOptions) complete(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		o.name = args[0]
	}
	return nil
}

func (o *topOptions) validate() error {
	switch {
	case o.output != "" && o.output != "json":
		return fmt.Errorf("--output is %q; it can be json", o.output)
	case o.name != "" && (o.all || o.labels != ""):
		return errors.New("one app is named, or several are selected, not both")
	}
	return o.coloring.validate()
}

func (o *topOptions) run(ctx context.Context) error {
	c, err := o.connect()
	if err != nil {
		return err
	}
	f := &feed{clients: c, namespace: c.namespace, opts: metav1.ListOptions{LabelSelector: o.labels}}
	if o.all {
		f.namespace = ""
	}
	if o.name != "" {
		if _, err := c.get(ctx, o.name); err != nil {
			return err
		}
		f.opts.FieldSelector = fields.OneTermEqualSelector(v1alpha1.FieldName, o.name).String()
	}
	if o.output == "" && !o.once && o.terminal(o.Out) {
		return o.screen(ctx, f)
	}
	return o.lines(ctx, f)
}

// screen fills the terminal until the user has seen enough.
func (o *topOptions) screen(ctx context.Context, f *feed) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	scope := "namespace " + f.namespace
	if f.namespace == "" {
		scope = "all namespaces"
	}
	model := newTopModel(scope, o.palette(o.session, o.Out), o.now)
	if o.name != "" {
		model.opened = types.NamespacedName{Namespace: f.namespace, Name: o.name}
	}
	program := tea.NewProgram(model, tea.WithContext(ctx), tea.WithInput(o.In), tea.WithOutput(o.Out))
	ended := make(chan error, 1)
	go func() {
		err := f.run(ctx, func(u update) error { program.Send(u); return nil })
		ended <- err
		program.Quit()
	}()
	_, err := program.Run()
	cancel()
	if failed := <-ended; failed != nil {
		return failed
	}
	if errors.Is(err, tea.ErrInterrupted) || errors.Is(err, tea.ErrProgramKilled) {
		return nil
	}
	return err
}

// reading is an app at a moment, for other programs.
type reading struct {
	Time          time.Time `json:"time"`
	Namespace     string    `json:"namespace"`
	Name          string    `json:"name"`
	State         state     `json:"state"`
	Pending       int64     `json:"pending"`
	InFlight      int64     `json:"inFlight"`
	RequestRate   float64   `json:"requestRate"`
	Replicas      int32     `json:"replicas"`
	ReadyReplicas int32     `json:"readyReplicas"`
	ColdStarts    int64     `json:"coldStarts"`
}

func readingOf(app *v1alpha1.HTTPApp, now time.Time) reading {
	state, _ := stateOf(app)
	r := reading{Time: now, Namespace: app.Namespace, Name: app.Name, State: state, Replicas: app.Status.Replicas, ReadyReplicas: app.Status.ReadyReplicas}
	if t := app.Status.Traffic; t != nil {
		r.Pending, r.InFlight, r.RequestRate, r.ColdStarts = t.Pending, t.InFlight, valueOf(t.RequestRate), t.ColdStarts
	}
	return r
}

func (r reading) line(p palette) string {
	return fmt.Sprintf("%s  %s/%s  %s  %d pending, %d in flight, %s/s, %d/%d ready, %d cold starts", r.Time.Format(time.TimeOnly),
		r.Namespace, r.Name, p.state(r.State, string(r.State)), r.Pending, r.InFlight, number(r.RequestRate), r.ReadyReplicas, r.Replicas, r.ColdStarts)
}

// errEnough ends a feed of which enough was seen.
var errEnough = errors.New("enough was seen")

// lines tells each change on a line.
func (o *topOptions) lines(ctx context.Context, f *feed) error {
	last, p := map[types.NamespacedName]reading{}, o.palette(o.session, o.Out)
	err := f.run(ctx, func(u update) error {
		for i := range u.apps {
			r := readingOf(&u.apps[i], o.now())
			key := types.NamespacedName{Namespace: r.Namespace, Name: r.Name}
			before := last[key]
			before.Time = r.Time
			if before == r {
				continue
			}
			last[key] = r
			var err error
			if o.output == "json" {
				err = json.NewEncoder(o.Out).Encode(r)
			} else {
				_, err = fmt.Fprintln(o.Out, r.line(p))
			}
			if err != nil {
				return err
			}
		}
		if o.once {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}
