package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

// verdicts of a check.
const (
	pass = "pass"
	warn = "warn"
	fail = "fail"
)

// check is one thing that was looked at.
type check struct {
	Name    string `json:"name"`
	Verdict string `json:"verdict"`
	Found   string `json:"found"`
	// Next is what to do about it.
	Next string `json:"next,omitempty"`
}

type doctorOptions struct {
	*session
	name   string
	host   string
	output string
	report string
	system string
	coloring
}

func newDoctorCommand(s *session) *cobra.Command {
	o := &doctorOptions{session: s}
	cmd := &cobra.Command{
		Use:   "doctor [NAME]",
		Short: "Find out what is wrong with the installation",
		Long: "Look at the installation from the outside: the cluster and its clock, the APIService and its certificate, the parts that run, KEDA, the\n" +
			"user's rights, whether interceptors answer, and whether the DNS leads a host to them, that of the app NAME if one is named.\n" +
			"Each line is pass, warn or fail, with what to do next. The exit code is 1 when something fails.\n\n" +
			"With --report all that was found, and what runs and was written to the log, goes into an archive, without values of environment\n" +
			"variables and without Secrets.",
		Example: s.examples("doctor", "doctor hello", "doctor --report kedahttp-report.tar.gz"),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return exactly("NAME")(cmd, args)
		},
		ValidArgsFunction: s.completeApp(1),
		RunE:              s.runs(o),
	}
	cmd.Flags().StringVar(&o.host, "host", "", "The host that the DNS is asked for. Default: that of the app.")
	cmd.Flags().StringVar(&o.report, "report", "", "Write what was found to this archive.")
	o.coloring.addFlags(cmd)
	addOutput(cmd, &o.output)
	addSystemFlag(cmd, &o.system)
	return cmd
}

func (o *doctorOptions) complete(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		o.name = args[0]
	}
	return nil
}

func (o *doctorOptions) validate() error {
	return errors.Join(validateOutput(o.output), o.coloring.validate())
}

func (o *doctorOptions) run(ctx context.Context) error {
	c, err := o.connect()
	if err != nil {
		return err
	}
	e := &examination{session: o.session, clients: c, system: c.systemNamespace(ctx, o.system)}
	// In this order: what comes later needs what comes before.
	for _, look := range []func(context.Context){
		e.cluster, e.api, e.parts, e.keda, e.rights, e.interceptors,
		func(ctx context.Context) { e.apps(ctx, o.name, o.host) },
	} {
		limited, cancel := context.WithTimeout(ctx, 20*time.Second)
		look(limited)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if e.hopeless {
			break
		}
	}
	if o.output != "" {
		err = printAs(o.Out, o.output, e.found)
	} else {
		err = printChecks(o.Out, e.found, o.palette(o.session, o.Out))
	}
	if o.report != "" {
		if writeErr := e.writeReport(ctx, o.report); writeErr != nil {
			err = errors.Join(err, writeErr)
		} else {
			fmt.Fprintf(o.ErrOut, "%s has what was found; look at it before you give it away\n", o.report)
		}
	}
	if err == nil && e.failed() {
		return exitError{code: ExitFailed}
	}
	return err
}

func printChecks(out io.Writer, found []check, colors palette) (err error) {
	width := 0
	for _, c := range found {
		width = max(width, len(c.Name))
	}
	for _, c := range found {
		_, err = fmt.Fprintf(out, "%s  %-*s  %s\n", colors.verdict(c.Verdict), width, c.Name, c.Found)
		if c.Next != "" {
			_, err = fmt.Fprintf(out, "      %-*s  → %s\n", width, "", c.Next)
		}
	}
	return err
}
