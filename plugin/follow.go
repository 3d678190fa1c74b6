package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// moves tells when apps change or their requests move. What moves is known to watches of tables only: a watch of objects hears
// what is stored, which counts are not. It ends with the context.
//
// changed gets the names of what moved, in the order in which they did; a name can come twice.
func (c *clients) moves(ctx context.Context, namespace string, opts metav1.ListOptions, changed func(namespace, name string) error) error {
	for {
		err := c.watchTable(ctx, namespace, opts, changed)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		// It ended as watches do after a while.
	}
}

func (c *clients) watchTable(ctx context.Context, namespace string, opts metav1.ListOptions, changed func(namespace, name string) error) error {
	request := c.apps.RESTClient().Get().Resource(resource).
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").
		Param("watch", "true").Param("includeObject", "Metadata")
	if namespace != "" {
		request = request.Namespace(namespace)
	}
	if opts.FieldSelector != "" {
		request = request.Param("fieldSelector", opts.FieldSelector)
	}
	if opts.LabelSelector != "" {
		request = request.Param("labelSelector", opts.LabelSelector)
	}
	stream, err := request.Stream(ctx)
	if err != nil {
		return err
	}
	defer stream.Close() //nolint:errcheck // it was read to its end
	decoder := json.NewDecoder(stream)
	for {
		var event struct {
			Type   watch.EventType
			Object struct {
				metav1.Status `json:",inline"`
				Rows          []struct{ Object metav1.PartialObjectMetadata }
			}
		}
		switch err := decoder.Decode(&event); {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		case event.Type == watch.Error:
			return fmt.Errorf("the watch ended: %s", event.Object.Message)
		}
		for _, row := range event.Object.Rows {
			if err := changed(row.Object.Namespace, row.Object.Name); err != nil {
				return err
			}
		}
	}
}

// follow tells the status again whenever it changes. On a terminal each takes the place of the one before; elsewhere there is a line
// for each change of how the app is.
func (o *statusOptions) follow(ctx context.Context, c *clients) error {
	if _, err := c.get(ctx, o.name); err != nil {
		return err
	}
	last := ""
	tell := func(string, string) error {
		app, err := c.get(ctx, o.name)
		var missing *missingError
		switch {
		case errors.As(err, &missing):
			return fmt.Errorf("app %s was deleted", o.name)
		case err != nil:
			return err
		}
		switch {
		case *o.print.OutputFormat != "":
			return o.tell(ctx, c, app, o.Out)
		case isTerminal(o.Out):
			var screen bytes.Buffer
			if err := o.tell(ctx, c, app, &screen); err != nil {
				return err
			}
			_, err := fmt.Fprintf(o.Out, "\033[H\033[2J%s", &screen)
			return err
		}
		if line := headline(app); line != last {
			last = line
			_, err := fmt.Fprintf(o.Out, "%s  %s\n", o.now().Format(time.TimeOnly), line)
			return err
		}
		return nil
	}
	return c.moves(ctx, c.namespace, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(v1alpha1.FieldName, o.name).String()}, tell)
}

// headline is how an app is, in one line.
func headline(app *v1alpha1.HTTPApp) string {
	state, why := stateOf(app)
	line := fmt.Sprintf("%s: %s", state, why)
	if t := app.Status.Traffic; t != nil {
		line += fmt.Sprintf("; %d pending, %d in flight", t.Pending, t.InFlight)
	}
	return line
}
