// Package install makes the schemes that the API server works with.
package install

import (
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// NewScheme returns a scheme with the versions that clients see.
func NewScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	utilruntime.Must(scheme.SetVersionPriority(v1alpha1.SchemeGroupVersion))
	utilruntime.Must(scheme.SetVersionPriority(autoscalingv1.SchemeGroupVersion))
	// Options, Status and the like of the generic API server are of the group "" and version v1.
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	unversioned := schema.GroupVersion{Version: "v1"}
	scheme.AddUnversionedTypes(unversioned,
		&metav1.Status{}, &metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})
	return scheme
}

// NewServerScheme returns a scheme that also has the internal versions, which the generic API server converts every object to.
// As there is one version, they are of the same Go types, and nothing is converted. What is published, OpenAPI above all,
// is made from NewScheme, so that no client reads of internal versions.
func NewServerScheme() *runtime.Scheme {
	scheme := NewScheme()
	scheme.AddKnownTypes(schema.GroupVersion{Group: v1alpha1.GroupName, Version: runtime.APIVersionInternal},
		&v1alpha1.HTTPApp{}, &v1alpha1.HTTPAppList{})
	scheme.AddKnownTypes(schema.GroupVersion{Group: autoscalingv1.GroupName, Version: runtime.APIVersionInternal},
		&autoscalingv1.Scale{})
	return scheme
}

// NewCodecs returns codecs for JSON, YAML and CBOR, as far as the server's features allow. Protobuf is left out: our types
// cannot be written in it, and a client that prefers it (as the namespace controller does) would get an error instead of JSON.
// A list is written app by app: the buffer for a whole one would be kept for all that is written later, however small. Tables are written
// by codecs of k8s.io/apiserver's own.
func NewCodecs(scheme *runtime.Scheme) CodecFactory {
	return CodecFactory{CodecFactory: serializer.NewCodecFactory(scheme, serializer.WithStreamingCollectionEncodingToJSON())}
}

// CodecFactory is a serializer.CodecFactory that does not offer protobuf.
type CodecFactory struct{ serializer.CodecFactory }

// SupportedMediaTypes implements runtime.NegotiatedSerializer.
func (f CodecFactory) SupportedMediaTypes() []runtime.SerializerInfo {
	var offered []runtime.SerializerInfo
	for _, info := range f.CodecFactory.SupportedMediaTypes() {
		if info.MediaType != runtime.ContentTypeProtobuf {
			offered = append(offered, info)
		}
	}
	return offered
}

// LegacyCodec is the codec of storage. What it reads has no kind, as if it were of an internal version: else an object would say
// one or not by the way on which it came, from a dry run or a write, from etcd or a watch of it.
func (f CodecFactory) LegacyCodec(versions ...schema.GroupVersion) runtime.Codec {
	return kindless{f.CodecFactory.LegacyCodec(versions...)}
}

type kindless struct{ runtime.Codec }

// Decode implements runtime.Decoder.
func (c kindless) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	obj, kind, err := c.Codec.Decode(data, defaults, into)
	if err == nil {
		obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	}
	return obj, kind, err
}
