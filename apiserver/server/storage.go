package server

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/registry/generic"
	genericserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/metadata"
	clientrest "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/install"
	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	informers "github.com/kedahttp/kedahttp/apiserver/client/informers/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/client/versioned"
	"github.com/kedahttp/kedahttp/apiserver/registry/httpapp"
	"github.com/kedahttp/kedahttp/apiserver/storage/embedded"
	"github.com/kedahttp/kedahttp/apiserver/storage/record"
	"github.com/kedahttp/kedahttp/apiserver/storage/recordstore"
)

// Where apps are kept.
const (
	storageRecords  = "records"
	storageEtcd     = "etcd"
	storageEmbedded = "embedded"
)

// StorageOptions say where apps are kept.
type StorageOptions struct {
	// Kind is records, etcd or embedded.
	Kind string
	// DataDir is the folder of the embedded etcd.
	DataDir string
	// Etcd are the options of the library's own storage, of the kinds etcd and embedded.
	Etcd *genericoptions.EtcdOptions
}

// NewStorageOptions returns the defaults.
func NewStorageOptions() *StorageOptions {
	// The cacher would keep each version of the whole list for lists that nobody asks it for: they are the host's to answer.
	utilruntime.Must(utilfeature.DefaultMutableFeatureGate.OverrideDefault(features.ListFromCacheSnapshot, false))
	return &StorageOptions{Kind: storageRecords, Etcd: genericoptions.NewEtcdOptions(storagebackend.NewDefaultConfig("/registry/"+v1alpha1.GroupName, nil))}
}

// AddFlags adds their flags.
func (o *StorageOptions) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Kind, "storage", o.Kind, "Where apps are kept: records, in the host cluster; etcd, at --etcd-servers; or embedded, in an etcd inside this process. "+
		"The last two are for the development of the API: interceptors and scalers read records only, and neither route to nor scale apps that are kept elsewhere.")
	fs.StringVar(&o.DataDir, "embedded-etcd-data-dir", o.DataDir, "The folder that --storage=embedded keeps its data in.")
	o.Etcd.AddFlags(fs)
}

// Validate says what is wrong with the options.
func (o *StorageOptions) Validate() []error {
	servers := len(o.Etcd.StorageConfig.Transport.ServerList) > 0
	switch o.Kind {
	case storageRecords, storageEmbedded:
		var errs []error
		if servers {
			errs = append(errs, fmt.Errorf("--etcd-servers: not with --storage=%s, only with --storage=%s", o.Kind, storageEtcd))
		}
		if (o.DataDir != "") != (o.Kind == storageEmbedded) {
			errs = append(errs, fmt.Errorf("--embedded-etcd-data-dir: must be there with --storage=%s, and only then", storageEmbedded))
		}
		return errs
	case storageEtcd:
		errs := o.Etcd.Validate()
		if o.DataDir != "" {
			errs = append(errs, fmt.Errorf("--embedded-etcd-data-dir: only with --storage=%s", storageEmbedded))
		}
		return errs
	}
	return []error{fmt.Errorf("--storage: %q is none of %s", o.Kind, strings.Join([]string{storageRecords, storageEtcd, storageEmbedded}, ", "))}
}

// storage is where apps are kept, ready for use.
type storage struct {
	options generic.RESTOptionsGetter
	// apps makes the informer of all apps. The client is of the API itself.
	apps func(loopback *clientrest.Config) (cache.SharedIndexInformer, error)
	etcd *embedded.Etcd
}

// open makes the storage ready, and has the server's health depend on it.
func (o *StorageOptions) open(ctx context.Context, host *clientrest.Config, config *genericserver.RecommendedConfig, codecs install.CodecFactory) (*storage, error) {
	codec := codecs.LegacyCodec(v1alpha1.SchemeGroupVersion)
	if o.Kind == storageRecords {
		records, err := record.NewClient(host)
		if err != nil {
			return nil, err
		}
		versions, err := metadata.NewForConfig(withoutHTTP2(host))
		if err != nil {
			return nil, err
		}
		store, err := recordstore.NewShared(inRecords(records, codec), versions)
		if err != nil {
			return nil, err
		}
		config.AddReadyzChecks(recordsCheck(records))
		return &storage{
			options: recordstore.Options{Store: store, EncodeVersioner: v1alpha1.SchemeGroupVersion, Counts: config.StorageObjectCountTracker},
			apps:    func(*clientrest.Config) (cache.SharedIndexInformer, error) { return store.Informer(), nil },
		}, nil
	}
	s := &storage{apps: newAppInformer}
	etcd := *o.Etcd
	etcd.StorageConfig.Codec, etcd.StorageConfig.EncodeVersioner = codec, v1alpha1.SchemeGroupVersion
	if o.Kind == storageEmbedded {
		var err error
		if s.etcd, err = embedded.Start(ctx, embedded.Config{Dir: o.DataDir}); err != nil {
			return nil, err
		}
		etcd.StorageConfig.Transport.ServerList = []string{s.etcd.Endpoint}
	}
	if err := etcd.ApplyTo(&config.Config); err != nil {
		s.close()
		return nil, err
	}
	s.options = config.RESTOptionsGetter
	return s, nil
}

// inRecords says how apps are kept in records.
func inRecords(records clientrest.Interface, codec runtime.Codec) recordstore.Config {
	shared := record.NewShared()
	return recordstore.Config{
		Client:   records,
		Resource: v1alpha1.Resource("httpapps"),
		Prefix:   "/httpapps",
		Codec:    codec,
		Decode:   func(p record.Payload) (runtime.Object, error) { return p.Decode() },
		Keep:     func(p record.Payload) (runtime.Object, error) { return shared.Decode(p) },
		New:      func() runtime.Object { return &v1alpha1.HTTPApp{} },
		NewList:  func() runtime.Object { return &v1alpha1.HTTPAppList{} },
		Attrs:    httpapp.Attrs,
	}
}

// withoutHTTP2 is for short reads only, which are many: over HTTP/1.1 one takes two thirds of the work, on both sides, and one
// that meets the end of an idle connection is sent again. Of a write nobody would know whether it was done, and a watch could not
// tell a host that is silent from one that is gone.
func withoutHTTP2(host *clientrest.Config) *clientrest.Config {
	config := clientrest.CopyConfig(host)
	config.NextProtos = []string{"http/1.1"}
	return config
}

// run lasts as long as the storage can be used.
func (s *storage) run(ctx context.Context) error {
	if s.etcd == nil {
		<-ctx.Done()
		return nil
	}
	select {
	case err := <-s.etcd.Err():
		return errors.Join(errors.New("the embedded etcd ended"), err)
	case <-ctx.Done():
		return nil
	}
}

func (s *storage) close() {
	if s.etcd != nil {
		s.etcd.Close()
	}
}

// newAppInformer makes an informer of all apps from the API itself.
func newAppInformer(loopback *clientrest.Config) (cache.SharedIndexInformer, error) {
	config := clientrest.CopyConfig(loopback)
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	client, err := versioned.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	informer := informers.NewHTTPAppInformer(client, metav1.NamespaceAll, 0, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	return informer, informer.SetTransform(func(obj any) (any, error) {
		if app, ok := obj.(*v1alpha1.HTTPApp); ok {
			// A list has it, an event has not; whoever wants to know asks the collector.
			app.Status.Traffic = nil
		}
		return obj, nil
	})
}
