package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
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
