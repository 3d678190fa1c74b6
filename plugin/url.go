package plugin

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

type urlOptions struct {
	*session
	oneApp
	// show opens a URL; without it, it is printed.
	show   func(url string) error
	output string
}

func newURLCommand(s *session) *cobra.Command {
	o := &urlOptions{session: s}
	cmd := &cobra.Command{
		Use:               "url NAME",
		Short:             "Print where an app is reached",
		Example:           s.examples("url hello"),
		Args:              exactly("NAME"),
		ValidArgsFunction: s.completeApp(1),
		RunE:              s.runs(o),
	}
	addOutput(cmd, &o.output)
	return cmd
}

func newOpenCommand(s *session) *cobra.Command {
	o := &urlOptions{session: s, show: browse}
	return &cobra.Command{
		Use:               "open NAME",
		Short:             "Open an app in the browser",
		Long:              "Open an app in the browser, at its URL. Where that leads nowhere, because the cluster has no ingress, see port-forward.",
		Example:           s.examples("open hello"),
		Args:              exactly("NAME"),
		ValidArgsFunction: s.completeApp(1),
		RunE:              s.runs(o),
	}
}

func (o *urlOptions) validate() error {
	return errors.Join(o.oneApp.validate(), validateOutput(o.output))
}

func (o *urlOptions) run(ctx context.Context) error {
	c, err := o.connect()
	if err != nil {
		return err
	}
	app, err := c.get(ctx, o.name)
	if err != nil {
		return err
	}
	url := urlOf(app)
	if url == "" {
		return fmt.Errorf("app %s has no URL: all of its routes have fixed responses", o.name)
	}
	if o.output != "" {
		return printAs(o.Out, o.output, map[string]string{"url": url})
	}
	if _, err := fmt.Fprintln(o.Out, url); err != nil || o.show == nil {
		return err
	}
	return o.show(url)
}

// browse opens a URL with what the desktop has for it.
func browse(url string) error {
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
	path, err := exec.LookPath(name)
	if err != nil {
		return errors.New("there is no " + name + " to open it with")
	}
	return exec.Command(path, append(args, url)...).Start()
}

// urlOf is where the app is reached, as the server says or, before it does, as its first route does.
func urlOf(app *v1alpha1.HTTPApp) string {
	if app.Status.URL != "" {
		return app.Status.URL
	}
	for _, route := range app.Spec.Routes {
		if route.Static != nil || len(route.Hosts) == 0 {
			continue
		}
		path := route.PathPrefix
		if path == "/" {
			path = ""
		}
		return "http://" + route.Hosts[0] + path
	}
	return ""
}
