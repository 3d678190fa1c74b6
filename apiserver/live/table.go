package live

import (
	"context"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
)

type tableKey struct{}

// WithTables notes in the context of requests that they are answered with a table, which storage is not told otherwise.
func WithTables(handler http.Handler, serializer runtime.NegotiatedSerializer) http.Handler {
	offered := serializer.SupportedMediaTypes()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if options, ok := negotiation.NegotiateMediaTypeOptions(r.Header.Get("Accept"), offered, restrictions{}); ok && isTable(options.Convert) {
			r = r.WithContext(context.WithValue(r.Context(), tableKey{}, true))
		}
		handler.ServeHTTP(w, r)
	})
}

// WantsTable reports that the request is answered with a table.
func WantsTable(ctx context.Context) bool { return ctx.Value(tableKey{}) != nil }

func isTable(kind *schema.GroupVersionKind) bool {
	return kind != nil && kind.Kind == "Table" && kind.Group == metav1.GroupName
}

// restrictions are those of the generic API server's own negotiation for objects.
type restrictions struct{}

// AllowsMediaTypeTransform implements negotiation.EndpointRestrictions.
func (restrictions) AllowsMediaTypeTransform(mimeType, mimeSubType string, target *schema.GroupVersionKind) bool {
	if target == nil {
		return true
	}
	if target.Group != metav1.GroupName || target.Version != "v1" && target.Version != "v1beta1" {
		return false
	}
	switch target.Kind {
	case "Table":
		return mimeType == "application" && (mimeSubType == "json" || mimeSubType == "yaml")
	case "PartialObjectMetadata", "PartialObjectMetadataList":
		return true
	}
	return false
}

// AllowsServerVersion implements negotiation.EndpointRestrictions.
func (restrictions) AllowsServerVersion(string) bool { return false }

// AllowsStreamSchema implements negotiation.EndpointRestrictions.
func (restrictions) AllowsStreamSchema(s string) bool { return s == "watch" }
