package server

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientrest "k8s.io/client-go/rest"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	appsclient "github.com/kedahttp/kedahttp/apiserver/client/versioned/typed/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/workload"
)

// statusWriter writes the status of apps by way of this server's own API, so that it is validated, versioned and managed like
// everybody's writes.
type statusWriter struct{ client appsclient.HTTPAppsGetter }

func newStatusWriter(loopback *clientrest.Config) (*statusWriter, error) {
	config := clientrest.CopyConfig(loopback)
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	client, err := appsclient.NewForConfig(config)
	return &statusWriter{client}, err
}

// UpdateStatus implements reconcile.StatusWriter.
func (w *statusWriter) UpdateStatus(ctx context.Context, app *v1alpha1.HTTPApp) error {
	_, err := w.client.HTTPApps(app.Namespace).UpdateStatus(ctx, app, metav1.UpdateOptions{FieldManager: workload.FieldManager})
	return err
}
