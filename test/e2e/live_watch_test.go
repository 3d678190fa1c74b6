//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

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

func TestAWatchOfManyAppsShowsTheRowsOfThoseThatMoveAndNoOthers(t *testing.T) {
	u := onlyUser(t)
	apps := u.apps()
	const many, moving = 1000, 10
	started := time.Now()
	names := make(chan string)
	var creating sync.WaitGroup
	for range 16 {
		creating.Go(func() {
			for name := range names {
				if _, err := apps.Create(t.Context(), unbacked(name), metav1.CreateOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range many {
		names <- fmt.Sprintf("app-%d", i)
	}
	close(names)
	creating.Wait()
	before, list := u.versions(apps)
	if len(before) != many {
		t.Fatalf("there are %d apps", len(before))
	}
	t.Logf("%d apps were there, and known to the reconciler, after %v", many, time.Since(started).Round(100*time.Millisecond))

	stored, err := apps.Watch(t.Context(), metav1.ListOptions{ResourceVersion: list})
	if err != nil {
		t.Fatal(err)
	}
	defer stored.Stop()
	watch := u.watchTable("")
	u.eventually(soon, "a row of each app", func() error {
		if rows := len(watch.snapshot()); rows < many {
			return fmt.Errorf("there are %d rows", rows)
		}
		return nil
	})

	move := sets.New[string]()
	var stops []func()
	for i := range moving {
		app := fmt.Sprintf("app-%d", i*97)
		move.Insert(app)
		stops = append(stops, u.hold(app, 2, "/"))
	}
	// The last row of each of those that move.
	last := func(want string) func() error {
		return func() error {
			rows := map[string]string{}
			for _, row := range watch.snapshot()[many:] {
				rows[row["NAME"]] = row["PENDING"] + "/" + row["IN-FLIGHT"]
			}
			for app := range move {
				if rows[app] != want {
					return fmt.Errorf("the last row of %s shows %q", app, rows[app])
				}
			}
			return nil
		}
	}
	u.eventually(soon, "two requests waiting in each of the rows", last("2/0"))
	for _, stop := range stops {
		stop()
	}
	u.eventually(soon, "all rows back at zero", last("0/0"))

	later := watch.snapshot()[many:]
	t.Logf("%d rows for %d apps that moved, of %d", len(later), moving, many)
	for _, row := range later {
		if !move.Has(row["NAME"]) {
			t.Errorf("a row of an app that does not move: %v", row)
		}
	}
	after, _ := u.versions(apps)
	for name, version := range before {
		if after[name] != version {
			t.Errorf("%s went from version %s to %s", name, version, after[name])
		}
	}
	// What is stored after all that is the first that the other watch hears of.
	u.kubectl("label", "httpapp", "app-1", "stored=yes")
	select {
	case e := <-stored.ResultChan():
		if app, ok := e.Object.(*v1alpha1.HTTPApp); !ok || app.Name != "app-1" || app.Labels["stored"] != "yes" {
			t.Errorf("a watch of what is stored was sent %s %v", e.Type, e.Object)
		}
	case <-time.After(soon):
		t.Error("the watch of what is stored does not hear of a label")
	}
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
			_, _ = exchange(req) // those that a killed interceptor had, fail
		})
	}
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	u.Cleanup(stop)
	return stop
}

func TestCountsThatAnInterceptorIsMissingFromAreMarkedAndNotZero(t *testing.T) {
	u := onlyUser(t)
	apps := u.apps()
	besieged := unbacked("besieged")
	besieged.Spec.Queue.MaxWait = &metav1.Duration{Duration: time.Hour} // none of them has waited for long enough before the test is over
	if _, err := apps.Create(t.Context(), besieged, metav1.CreateOptions{}); err != nil {
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

	victim := u.running(interceptors)[0]
	u.kill(victim)
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
		if now.Pending == requests {
			return fmt.Errorf("%+v", now)
		}
		return nil
	})
	t.Logf("%d answers were partial; %d requests are left", partial, traffic().Pending)
	marked := func() error {
		for _, row := range watch.snapshot() {
			if strings.HasPrefix(row["PENDING"], "~") {
				return nil
			}
		}
		return fmt.Errorf("its rows are %v", watch.snapshot())
	}
	// It may have been back before the table's next row, which come once a second. What ends again waits for ten seconds until the
	// kubelet starts it.
	if marked() != nil {
		u.kill(victim)
	}
	u.eventually(soon, "the marked number in the table", marked)
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
	operator(t).kubectl("rollout", "status", "deployment/kedahttp-interceptor", "--timeout=2m")
}

// A watch is through one of the servers. When that is killed an informer begins anew, and has missed nothing.
func TestInformersGoOnWhenTheServerOfTheirWatchIsKilled(t *testing.T) {
	u := onlyUser(t)
	u.allServersReady()
	u.apply(small("kept") + "---\n" + small("changed"))
	all := u.informers()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	for _, o := range all {
		if o.name != controllerRuntime { // whose cache runs it
			running.Go(func() { o.informer.RunWithContext(ctx) })
		}
		u.eventually(soon, o.name+" synced", func() error {
			if !o.informer.HasSynced() {
				return fmt.Errorf("it is not")
			}
			return nil
		})
	}
	for round, pod := range u.servers() {
		u.kill(pod)
		// While one is missing, so that nobody hears of it before they watch again.
		for _, write := range [][]string{
			{"label", "httpapp", "changed", fmt.Sprintf("round=r%d", round), "--overwrite"},
			{"delete", "httpapp", fmt.Sprintf("gone-%d", round-1), "--ignore-not-found", "--wait=false"},
		} {
			u.eventually(soon, "kubectl "+strings.Join(write, " "), func() error { _, err := u.try("", write...); return err })
		}
		u.eventually(soon, "an app made meanwhile", func() error {
			_, err := u.try(small(fmt.Sprintf("gone-%d", round)), "apply", "-f", "-")
			return err
		})
		u.eventually(later, "both servers ready again", func() error { return u.readyServers(2) })
	}
	u.allServersReady()
	apps := u.apps()
	u.versions(apps)
	for _, o := range all {
		u.eventually(soon, o.name+" with what a fresh list has", func() error {
			list, err := apps.List(t.Context(), metav1.ListOptions{})
			if err != nil {
				return err
			}
			return o.equals(list.Items)
		})
		o.mu.Lock()
		if o.requests["watch"]+o.requests["watch with initial events"] < 2 {
			t.Errorf("no watch of %s ended: %v", o.name, o.requests)
		}
		o.mu.Unlock()
	}
}
