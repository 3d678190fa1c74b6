package server

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	clientrest "k8s.io/client-go/rest"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/install"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/workload"
)

// statusWriter writes the status of apps by way of this server's own API, so that it is validated, versioned and managed like
// everybody's writes.
type statusWriter struct{ client clientrest.Interface }

func newStatusWriter(loopback *clientrest.Config) (*statusWriter, error) {
	config := clientrest.CopyConfig(loopback)
	config.GroupVersion = &v1alpha1.SchemeGroupVersion
	config.APIPath = "/apis"
	config.NegotiatedSerializer = serializer.NewCodecFactory(install.NewScheme()).WithoutConversion()
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	client, err := clientrest.RESTClientFor(config)
	return &statusWriter{client}, err
}

// UpdateStatus implements reconcile.StatusWriter.
func (w *statusWriter) UpdateStatus(ctx context.Context, app *v1alpha1.HTTPApp) error {
	app = app.DeepCopy()
	app.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "HTTPApp"}
	return w.client.Put().Namespace(app.Namespace).Resource("httpapps").Name(app.Name).SubResource("status").
		Param("fieldManager", workload.FieldManager).Body(app).Do(ctx).Error()
}
