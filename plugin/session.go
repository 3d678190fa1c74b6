package plugin

import (
	"context"
	"errors"
	"io"
	"net"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	appsclient "github.com/kedahttp/kedahttp/apiserver/client/versioned/typed/apps/v1alpha1"
)

// session is what a command works with: where it reads and prints, whom it asks, and what time it is.
type session struct {
	genericiooptions.IOStreams
	factory  cmdutil.Factory
	calledAs string
	now      func() time.Time
	// connect makes the clients of the cluster that the flags name.
	connect func() (*clients, error)
	// anything makes what objects of any kind are read and written with.
	anything func() (dynamic.Interface, meta.ResettableRESTMapper, error)
	// forward leads a port of the loopback to a pod's.
	forward func(ctx context.Context, c *clients, pod *corev1.Pod, port int32) (*tunnel, error)
	// lookup asks the DNS for a host.
	lookup func(ctx context.Context, host string) ([]string, error)
	// program finds a program of this machine.
	program func(name string) (string, error)
	// terminal says whether somebody looks at what is written.
	terminal func(io.Writer) bool
}

func newSession(calledAs string, streams genericiooptions.IOStreams, flags *genericclioptions.ConfigFlags) *session {
	s := &session{
		IOStreams: streams,
		factory:   cmdutil.NewFactory(flags),
		calledAs:  calledAs,
		now:       time.Now,
		forward:   forward,
		lookup:    net.DefaultResolver.LookupHost,
		program:   exec.LookPath,
		terminal:  isTerminal,
	}
	s.connect = func() (*clients, error) { return connect(s.factory) }
	s.anything = func() (dynamic.Interface, meta.ResettableRESTMapper, error) { return anything(s.factory) }
	return s
}

// clients are those of one cluster, and the namespace that the user works in.
type clients struct {
	config     *rest.Config
	namespace  string
	apps       appsclient.AppsV1alpha1Interface
	kubernetes kubernetes.Interface
}

func connect(getter genericclioptions.RESTClientGetter) (*clients, error) {
	namespace, _, err := getter.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, err
	}
	config, err := getter.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	apps, err := appsclient.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	kubernetes, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &clients{config, namespace, apps, kubernetes}, nil
}

// namespace is the one that the user works in. It takes no cluster to know.
func (s *session) namespace() (string, error) {
	namespace, _, err := s.factory.ToRawKubeConfigLoader().Namespace()
	return namespace, err
}

// operation is what a command does, in three steps: what was asked for, whether that makes sense, and doing it. Only the last
// one asks the cluster.
type operation interface {
	complete(cmd *cobra.Command, args []string) error
	validate() error
	run(ctx context.Context) error
}

// runs lets a command do an operation.
func (s *session) runs(o operation) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := o.complete(cmd, args)
		switch {
		case noCluster(err):
			return s.explain(err)
		case err != nil:
			return usageError(err)
		}
		if err := o.validate(); err != nil {
			return usageError(err)
		}
		return s.explain(o.run(cmd.Context()))
	}
}

// examples puts the name that the plugin was called by in front of each line.
func (s *session) examples(lines ...string) string {
	return "  " + s.calledAs + " " + strings.Join(lines, "\n  "+s.calledAs+" ")
}

// near returns the names that somebody may have meant: those that kubectl would suggest if they were commands.
func near(name string, names []string) []string {
	commands := &cobra.Command{SuggestionsMinimumDistance: 2}
	for _, n := range names {
		commands.AddCommand(&cobra.Command{Use: n, Run: func(*cobra.Command, []string) {}})
	}
	return commands.SuggestionsFor(name)
}

// oneApp is the argument of a command for one app.
type oneApp struct{ name string }

func (o *oneApp) complete(_ *cobra.Command, args []string) error {
	o.name = args[0]
	return nil
}

func (o *oneApp) validate() error {
	if o.name == "" || strings.Contains(o.name, "/") {
		return errors.New("an app is named by its name alone, such as hello; its namespace is --namespace")
	}
	return nil
}
