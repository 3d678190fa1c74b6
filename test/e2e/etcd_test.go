//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/client/versioned"
	"github.com/kedahttp/kedahttp/apiserver/storage/embedded"
)

// Apps that are kept in etcd are served as those in records are: the server is one of the developer's own, outside of the
// cluster, and its namespace is the user's.
func TestAnAPIServerOfADeveloperKeepsAppsInEtcd(t *testing.T) {
	beside(t)
	binary := filepath.Join(t.TempDir(), "apiserver")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/apiserver").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Run("embedded", func(t *testing.T) {
		u := newUser(t)
		u.keepsApps(u.ownServer(binary, "--storage=embedded", "--embedded-etcd-data-dir="+filepath.Join(t.TempDir(), "etcd")))
	})
	t.Run("etcd", func(t *testing.T) {
		u := newUser(t)
		etcd, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir(), Unsafe: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(etcd.Close)
		u.keepsApps(u.ownServer(binary, "--storage=etcd", "--etcd-servers="+etcd.Endpoint))
	})
}

// ownServer starts an API server in the user's namespace and waits until it is ready. It returns the administrator's way to it.
func (u user) ownServer(binary string, flags ...string) *rest.Config {
	u.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		u.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	_ = listener.Close()
	var log bytes.Buffer
	cmd := exec.Command(binary, append([]string{"--kubeconfig=" + os.Getenv("KUBECONFIG"), "--namespace=" + u.namespace,
		"--bind-address=127.0.0.1", "--secure-port=" + port, "--shutdown-delay-duration=0s"}, flags...)...)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		u.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	u.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case err := <-ended:
			if err != nil {
				u.Errorf("the server ended with %v", err)
			}
		case <-time.After(soon):
			_ = cmd.Process.Kill()
			<-ended
			u.Error("the server did not end when it was told to")
		}
		if u.Failed() {
			u.Logf("%s", log.String())
		}
	})

	config := administrator(u.T)
	config.Host = "https://127.0.0.1:" + port
	// The server made its certificate for its Service.
	config.CAData, config.CAFile, config.Insecure = nil, "", true
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		u.Fatal(err)
	}
	u.eventually(later, "ready", func() error {
		code, body, err := once(u.Context(), client, config.Host+"/readyz")
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("%d %s", code, body)
		}
		return err
	})
	return config
}

// keepsApps goes through the life of an app, whose workload is not there: nothing is made in the cluster.
func (u user) keepsApps(config *rest.Config) {
	u.Helper()
	client, err := versioned.NewForConfig(config)
	if err != nil {
		u.Fatal(err)
	}
	apps := client.AppsV1alpha1().HTTPApps(u.namespace)
	ctx, cancel := context.WithTimeout(u.Context(), later)
	defer cancel()
	must := func(err error) {
		u.Helper()
		if err != nil {
			u.Fatal(err)
		}
	}
	created, err := apps.Create(ctx, &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Name: "shop"}, Spec: v1alpha1.HTTPAppSpec{
		WorkloadRef: &v1alpha1.WorkloadReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "shop"}, ServiceName: "shop",
	}}, metav1.CreateOptions{})
	must(err)
	if created.Generation != 1 || len(created.Spec.Routes) != 1 {
		u.Errorf("created: %+v", created)
	}
	watcher, err := apps.Watch(ctx, metav1.ListOptions{ResourceVersion: created.ResourceVersion})
	must(err)
	defer watcher.Stop()
	// The reconciler writes the status of the app, and so works on this storage, too.
	u.eventually(soon, "reconciled", func() error {
		got, err := apps.Get(ctx, "shop", metav1.GetOptions{})
		if err == nil && got.Status.ObservedGeneration != 1 {
			err = fmt.Errorf("the status is %+v", got.Status)
		}
		return err
	})
	patch := []byte(`{"metadata": {"labels": {"written": "yes"}}, "spec": {"scaling": {"maxReplicas": 7}}}`)
	written, err := apps.Patch(ctx, "shop", "application/merge-patch+json", patch, metav1.PatchOptions{})
	must(err)
	if written.Generation != 2 || written.UID != created.UID {
		u.Errorf("after a patch: %+v", written)
	}
	list, err := apps.List(ctx, metav1.ListOptions{LabelSelector: "written=yes"})
	must(err)
	if len(list.Items) != 1 {
		u.Errorf("listed: %+v", list.Items)
	}
	_, err = apps.Update(ctx, created, metav1.UpdateOptions{})
	if err == nil || !strings.Contains(err.Error(), "the object has been modified") {
		u.Errorf("an update of what was changed since: %v", err)
	}
	must(apps.Delete(ctx, "shop", metav1.DeleteOptions{}))
	changed := false
	for event := range watcher.ResultChan() {
		app, ok := event.Object.(*v1alpha1.HTTPApp)
		if !ok {
			u.Fatalf("the watch says %+v", event)
		}
		changed = changed || event.Type == watch.Modified && app.Labels["written"] == "yes"
		if event.Type == watch.Deleted {
			if !changed {
				u.Error("the watch did not hear of the patch")
			}
			return
		}
	}
	u.Error("the watch ended before it heard of the deletion")
}
