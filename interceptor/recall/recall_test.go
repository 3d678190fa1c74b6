package recall

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

func TestWhatIsKeptIsWhatRequestsAreServedBy(t *testing.T) {
	dir := t.TempDir()
	f := File{Path: filepath.Join(dir, "known.json")}
	known, err := f.Read()
	require.NoError(t, err)
	require.Nil(t, known, "nothing was kept yet")

	apps, slices := cache.NewStore(cache.MetaNamespaceKeyFunc), cache.NewStore(cache.MetaNamespaceKeyFunc)
	app := &v1alpha1.HTTPApp{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "shop", UID: "1", Generation: 3, Annotations: map[string]string{"a": "long one"}},
		Spec: v1alpha1.HTTPAppSpec{
			Template:         &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Env: []corev1.EnvVar{{Name: "PASSWORD", Value: "s3cret"}}}}}},
			ConcurrencyLimit: 7,
			Routes:           []v1alpha1.Route{{Hosts: []string{"shop.test"}}},
		},
	}
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "shop-1"}, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}}}}
	require.NoError(t, apps.Add(app))
	require.NoError(t, slices.Add(slice))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.Keep(ctx, nil, apps, slices)

	known, err = f.Read()
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), known.At, time.Minute)
	require.Len(t, known.Apps, 1)
	require.Equal(t, int64(3), known.Apps[0].Generation)
	require.Equal(t, int32(7), known.Apps[0].Spec.ConcurrencyLimit)
	require.Equal(t, app.Spec.Routes, known.Apps[0].Spec.Routes)
	require.Equal(t, []*discoveryv1.EndpointSlice{slice}, known.Slices)
	require.NotNil(t, app.Spec.Template, "the informer's own is as it was")
	content, err := os.ReadFile(f.Path)
	require.NoError(t, err)
	require.NotContains(t, string(content), "s3cret")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing is left beside it")
}

func TestWhatCannotBeReadIsNotServedBy(t *testing.T) {
	f := File{Path: filepath.Join(t.TempDir(), "known.json")}
	require.NoError(t, os.WriteFile(f.Path, []byte(`{"version": 1, "apps": [{"metadata"`), 0o600))
	_, err := f.Read()
	require.ErrorContains(t, err, f.Path)
	require.NoError(t, os.WriteFile(f.Path, []byte(`{"version": 0, "apps": [{}]}`), 0o600))
	known, err := f.Read()
	require.NoError(t, err)
	require.Nil(t, known, "of another version")
	require.Error(t, (&File{Path: "/nowhere/at/all"}).write(cache.NewStore(cache.MetaNamespaceKeyFunc), cache.NewStore(cache.MetaNamespaceKeyFunc)))
}
