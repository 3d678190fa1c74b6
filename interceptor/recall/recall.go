// Package recall keeps on disk what an interceptor knows of apps and pods, so that one that is started anew while the cluster's API
// is away serves on with it.
package recall

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

const (
	// A write comes pause after the one before, or so much later that at most one part in share of the time goes into writing.
	pause = time.Second
	share = 20
	// version is that of the format: a file of another one is not read.
	version = 1
)

// Known is what is kept.
type Known struct {
	Version int `json:"version"`
	// At is when it was written.
	At     time.Time                    `json:"at"`
	Apps   []*v1alpha1.HTTPApp          `json:"apps"`
	Slices []*discoveryv1.EndpointSlice `json:"slices"`
	// Secrets have the certificates and their keys.
	Secrets []*corev1.Secret `json:"secrets,omitempty"`
}

// File is where it is kept: a file in a directory that outlives the process and not the pod, in memory for the keys' sake. What is in it is of this pod's
// neighbourhood and was true when the process ended, not much earlier.
type File struct {
	Path string
	// Patience is how long the cluster's API may take at the start before what was kept is used.
	Patience time.Duration
	// Secrets are those to be kept; nil: none.
	Secrets func() []*corev1.Secret
}

// Read returns what is kept, nil when nothing is.
func (f *File) Read() (*Known, error) {
	file, err := os.Open(f.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	}
	defer file.Close() //nolint:errcheck // it is only read
	var known Known
	if err := json.NewDecoder(bufio.NewReader(file)).Decode(&known); err != nil {
		return nil, fmt.Errorf("reading %s: %w", f.Path, err)
	}
	if known.Version != version {
		return nil, nil
	}
	return &known, nil
}

// Keep writes what the stores have, at once and then whenever it changed, some time after the change, until the context ends.
func (f *File) Keep(ctx context.Context, changed <-chan struct{}, apps, slices cache.Store) {
	for {
		began := time.Now()
		if err := f.write(apps, slices); err != nil {
			klog.ErrorS(err, "Cannot keep what is known for the next start")
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(pause, (share-1)*time.Since(began))):
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// write puts a new file in the place of the old one, which stays whole until then.
func (f *File) write(apps, slices cache.Store) error {
	known := Known{Version: version, At: time.Now()}
	for _, obj := range apps.List() {
		if app, ok := obj.(*v1alpha1.HTTPApp); ok {
			known.Apps = append(known.Apps, slim(app))
		}
	}
	for _, obj := range slices.List() {
		if slice, ok := obj.(*discoveryv1.EndpointSlice); ok {
			known.Slices = append(known.Slices, slice)
		}
	}
	if f.Secrets != nil {
		known.Secrets = f.Secrets()
	}
	next := f.Path + ".next"
	file, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(file)
	if err := json.NewEncoder(w).Encode(known); err != nil {
		return errors.Join(err, file.Close())
	}
	if err := errors.Join(w.Flush(), file.Close()); err != nil {
		return err
	}
	return os.Rename(next, f.Path)
}

// slim leaves out of an app what no request is served by.
func slim(app *v1alpha1.HTTPApp) *v1alpha1.HTTPApp {
	kept := &v1alpha1.HTTPApp{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: app.Namespace, Name: app.Name, UID: app.UID, Generation: app.Generation,
			ResourceVersion: app.ResourceVersion, CreationTimestamp: app.CreationTimestamp,
		},
		Spec: app.Spec,
	}
	kept.Spec.Template, kept.Spec.WorkloadRef, kept.Spec.Scaling.Behavior = nil, nil, nil
	return kept
}
