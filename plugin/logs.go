package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

type logsOptions struct {
	*session
	oneApp
	follow, previous, all, timestamps bool
	interceptor                       bool
	since                             time.Duration
	tail                              int64
	container                         string
	output                            string
	system                            string
}

func newLogsCommand(s *session) *cobra.Command {
	o := &logsOptions{session: s}
	cmd := &cobra.Command{
		Use:   "logs NAME",
		Short: "Print what an app writes, or who asked it for what",
		Long: "Print what all replicas of an app write. With --follow it goes on when replicas go and new ones come, and waits while there is none.\n" +
			"Of several replicas or containers each line begins with where it is from.\n\n" +
			"With --interceptor it is the access log of this app's requests instead, one line of JSON each. What is logged is decided by the\n" +
			"interceptors' flag --access-log; it is off by default.\n\n" +
			"With -o json each line is an object: pod, container, time, line.",
		Example: s.examples("logs hello", "logs hello -f --since 10m", "logs hello --previous", "logs hello --interceptor -f", "logs hello -o json"),
		Args:    exactly("NAME"), ValidArgsFunction: s.completeApp(1), RunE: s.runs(o),
	}
	flags := cmd.Flags()
	flags.BoolVarP(&o.follow, "follow", "f", false, "Go on, also across zero and new replicas.")
	flags.DurationVar(&o.since, "since", 0, "Only what is younger, such as 10m.")
	flags.Int64Var(&o.tail, "tail", -1, "Only so many of the last lines of each container.")
	flags.BoolVarP(&o.previous, "previous", "p", false, "What was written before the last crash.")
	flags.StringVarP(&o.container, "container", "c", "", "This container. Default: the first, which is the only one of most apps.")
	flags.BoolVar(&o.all, "all", false, "All containers.")
	flags.BoolVar(&o.timestamps, "timestamps", false, "Begin each line with its time.")
	flags.StringVarP(&o.output, "output", "o", "", "json: an object for each line.")
	completeOutput(cmd, []string{"json"})
	flags.BoolVar(&o.interceptor, "interceptor", false, "The access log of the app's requests.")
	addSystemFlag(cmd, &o.system)
	return cmd
}

func (o *logsOptions) validate() error {
	switch {
	case o.follow && o.previous:
		return errors.New("--follow and --previous contradict each other: what crashed writes nothing more")
	case o.all && o.container != "":
		return errors.New("--all and --container contradict each other")
	case o.since < 0:
		return errors.New("--since cannot be negative")
	case o.output != "" && o.output != "json":
		return fmt.Errorf("--output is %q; it can be json", o.output)
	case o.interceptor && (o.previous || o.all || o.container != ""):
		return errors.New("--interceptor is for what the interceptors write, not the app's containers")
	}
	return o.oneApp.validate()
}

func (o *logsOptions) run(ctx context.Context) error {
	c, err := o.connect()
	if err != nil {
		return err
	}
	app, err := c.get(ctx, o.name)
	if err != nil {
		return err
	}
	t := &tailer{
		clients: c, out: o.Out, errOut: o.ErrOut, namespace: app.Namespace, follow: o.follow, previous: o.previous,
		prefix: true, timestamps: o.timestamps, asJSON: o.output == "json", now: o.now, containers: o.containers,
	}
	if o.since > 0 {
		t.since = o.now().Add(-o.since)
	}
	if o.tail >= 0 {
		t.tail = ptr.To(o.tail)
	}
	if o.interceptor {
		t.namespace, t.prefix = c.systemNamespace(ctx, o.system), false
		t.selector = labels.Set{nameLabel: interceptorName}.String()
		t.containers = func(*corev1.Pod) []string { return []string{"interceptor"} }
		t.keep = accessOf(app)
		if t.tail == nil && t.since.IsZero() {
			t.tail = ptr.To[int64](1000) // what other apps were asked for is read, too
		}
	} else if t.selector, err = c.selector(ctx, app); err != nil {
		return err
	}
	if o.container != "" {
		if err := t.hasContainer(ctx, o.container); err != nil {
			return err
		}
	}
	if o.follow {
		return t.followAll(ctx)
	}
	found, err := t.readAll(ctx)
	if o.previous && isNoPrevious(err) {
		return fmt.Errorf("%w\nNone of its containers has crashed, or what they wrote then is gone. What they write now: %s logs -n %s %s", err, o.calledAs, app.Namespace, o.name)
	}
	if err == nil && !found && !o.interceptor {
		fmt.Fprintf(o.ErrOut, "app %s has no replica at the moment; with -f it is waited for one\n", o.name)
	}
	return err
}

// isNoPrevious says that a container has not run before it runs now.
func isNoPrevious(err error) bool {
	return apierrors.IsBadRequest(err) && strings.HasPrefix(err.Error(), "previous terminated container")
}

// containers are those of a pod that are asked for.
func (o *logsOptions) containers(pod *corev1.Pod) []string {
	var names []string
	switch {
	case o.container != "":
		return []string{o.container}
	case o.all:
		for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
			names = append(names, c.Name)
		}
		return names
	}
	if name := pod.Annotations["kubectl.kubernetes.io/default-container"]; name != "" {
		return []string{name}
	}
	return []string{pod.Spec.Containers[0].Name}
}

// accessOf tells the lines of the access log that are of an app's requests.
func accessOf(app *v1alpha1.HTTPApp) func(line string) bool {
	name := app.Namespace + "/" + app.Name
	return func(line string) bool {
		// Most lines are of others.
		if !strings.Contains(line, name) {
			return false
		}
		var entry struct{ App string }
		return json.Unmarshal([]byte(line), &entry) == nil && entry.App == name
	}
}
