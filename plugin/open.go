package plugin

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"

	"github.com/spf13/cobra"
)

type openOptions struct {
	*session
	oneApp
	output string
}

func newOpenCommand(s *session) *cobra.Command {
	o := &openOptions{session: s}
	cmd := &cobra.Command{
		Use:   "open NAME",
		Short: "Open an app in the browser",
		Long: "Open an app in the browser, at its URL. Where that leads nowhere, because the cluster has no ingress, see port-forward. With -o the URL is\n" +
			"printed for other programs, and nothing is opened.",
		Example:           s.examples("open hello"),
		Args:              exactly("NAME"),
		ValidArgsFunction: s.completeApp(1),
		RunE:              s.runs(o),
	}
	addOutput(cmd, &o.output)
	return cmd
}

func (o *openOptions) validate() error {
	return errors.Join(o.oneApp.validate(), validateOutput(o.output))
}

func (o *openOptions) run(ctx context.Context) error {
	c, err := o.connect()
	if err != nil {
		return err
	}
	url, err := c.url(ctx, o.name)
	if err != nil {
		return err
	}
	if o.output != "" {
		return printAs(o.Out, o.output, map[string]string{"url": url})
	}
	if _, err := fmt.Fprintln(o.Out, url); err != nil {
		return err
	}
	return o.browse(url)
}

// browse opens a URL with what the desktop has for it.
func (s *session) browse(url string) error {
	var name string
	var args []string
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler"}
	default:
		name = "xdg-open"
	}
	path, err := s.program(name)
	if err != nil {
		return errors.New("there is no " + name + " here to open it with; a browser on any machine that reaches the URL can")
	}
	return exec.Command(path, append(args, url)...).Start()
}
