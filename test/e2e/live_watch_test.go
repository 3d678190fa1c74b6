//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/client/versioned"
	typed "github.com/kedahttp/kedahttp/apiserver/client/versioned/typed/apps/v1alpha1"
)

// apps is a client of the user's apps.
func (u user) apps() typed.HTTPAppInterface {
	u.Helper()
	client, err := versioned.NewForConfig(administrator(u.T))
	if err != nil {
		u.Fatal(err)
	}
	return client.AppsV1alpha1().HTTPApps(u.namespace)
}

// unbacked is an app whose workload there is not: what waits for it waits, and nothing starts.
func unbacked(name string) *v1alpha1.HTTPApp {
	return &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.HTTPAppSpec{
		WorkloadRef: &v1alpha1.WorkloadReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "backend"},
		ServiceName: "backend",
		Scaling:     v1alpha1.Scaling{Autoscaler: v1alpha1.AutoscalerNone},
	}}
}

// versions lists the apps when the reconciler has been through with all of them.
func (u user) versions(apps typed.HTTPAppInterface) (byName map[string]string, list string) {
	u.Helper()
	u.eventually(later, "all apps reconciled", func() error {
		all, err := apps.List(u.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		byName, list = map[string]string{}, all.ResourceVersion
		for _, app := range all.Items {
			if app.Status.ObservedGeneration != app.Generation {
				return fmt.Errorf("%s is not", app.Name)
			}
			byName[app.Name] = app.ResourceVersion
		}
		return nil
	})
	return byName, list
}

// snapshot are the rows so far.
func (w *table) snapshot() []map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]map[string]string(nil), w.rows...)
}

// besiege keeps so many requests open, whatever becomes of them.
func (u user) besiege(app string, requests int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range requests {
		wg.Go(func() {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+u.host(app)+"/", nil)
			if err != nil {
				u.Error(err)
				return
			}
			_, _ = send(req) // those that a killed interceptor had, fail
		})
	}
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	u.Cleanup(stop)
	return stop
}

func TestCountsThatAnInterceptorIsMissingFromAreMarkedAndNotZero(t *testing.T) {
	u := onlyUser(t)
	apps := u.apps()
	if _, err := apps.Create(t.Context(), unbacked("besieged"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	u.versions(apps)
	watch := u.watchTable("besieged")
	traffic := func() v1alpha1.Traffic {
		t.Helper()
		app, err := apps.Get(t.Context(), "besieged", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if app.Status.Traffic == nil {
			return v1alpha1.Traffic{}
		}
		return *app.Status.Traffic
	}
	const requests = 24
	stop := u.besiege("besieged", requests)
	u.eventually(soon, "all requests counted by both interceptors", func() error {
		if now := traffic(); now.Pending != requests || now.Interceptors != (v1alpha1.Interceptors{Reporting: 2, Expected: 2}) {
			return fmt.Errorf("it is %+v", now)
		}
		return nil
	})

	pods := u.running(interceptors)
	u.kill(pods[0])
	// Until the interceptor is back, its last counts are part of the sum and the sum is marked. Then they are what it counts
	// now, which is nothing; the other one's stay.
	partial := 0
	u.eventually(later, "an interceptor missing, and back", func() error {
		now := traffic()
		if now.Pending == 0 {
			t.Fatalf("requests that wait are said to be none: %+v", now)
		}
		if now.Interceptors.Reporting < now.Interceptors.Expected || now.Interceptors.Reporting == 0 {
			partial++
			if now.Pending != requests || now.SampledAt == nil {
				t.Fatalf("counts that are not of now are %+v", now)
			}
			return fmt.Errorf("%+v report", now.Interceptors)
		}
		if partial == 0 || now.Pending == requests {
			return fmt.Errorf("%+v", now)
		}
		return nil
	})
	t.Logf("%d answers were partial; %d requests are left", partial, traffic().Pending)
	u.eventually(soon, "the marked number in the table", func() error {
		for _, row := range watch.snapshot() {
			if row["PENDING"] == fmt.Sprintf("~%d", requests) {
				return nil
			}
		}
		return fmt.Errorf("its rows are %v", watch.snapshot())
	})
	for _, row := range watch.snapshot() {
		if row["PENDING"] == "~0" {
			t.Errorf("a row says that none wait: %v", row)
		}
	}
	stop()
	u.eventually(soon, "no request left", func() error {
		if now := traffic(); now.Pending != 0 || now.Interceptors.Reporting != 2 {
			return fmt.Errorf("%+v", now)
		}
		return nil
	})
	operator(t).kubectl("rollout", "status", "deployment/kedahttp-interceptor", "--timeout=1m")
}
