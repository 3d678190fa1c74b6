//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The main job: at zero, woken by a request, several replicas under load by way of KEDA, zero again; and the table moves by
// itself all along.
func TestAnAppWakesGrowsAndSleeps(t *testing.T) {
	u := newUser(t)
	u.deploy("story", "--scale", "0..4", "--concurrency", "2", "--idle", "5s")

	if err := u.field("deployment/story", "{.spec.replicas}", "0"); err != nil {
		t.Fatalf("a new app should cost nothing: %v", err)
	}
	watch := u.watchTable("story")

	answer, err := u.get("story", "/hello")
	if err != nil {
		t.Fatalf("the first request should wake the app: %v", err)
	}
	if answer.Host != u.host("story") {
		t.Errorf("the app saw the host %q, not %q", answer.Host, u.host("story"))
	}

	version := u.kubectl("get", "httpapp", "story", "-o", "jsonpath={.metadata.generation}")
	stop := u.load("story", 8, "/?delay=500ms")
	u.eventually(later, "scaled up by load", func() error {
		replicas, err := u.value("deployment/story", "{.status.readyReplicas}")
		if err != nil {
			return err
		}
		if n, _ := strconv.Atoi(replicas); n < 3 {
			return fmt.Errorf("%s ready replicas", replicas)
		}
		return nil
	})
	u.eventually(soon, "the HPA showing the scaler's number", func() error {
		value, err := u.value("hpa/keda-hpa-story", "{.status.currentMetrics[0].external.current.averageValue}")
		if err != nil {
			return err
		}
		if value == "" || value == "0" {
			return fmt.Errorf("it shows %q", value)
		}
		return nil
	})
	if err := u.field("scaledobject/story", `{.status.conditions[?(@.type=="Ready")].status}`, "True"); err != nil {
		t.Error(err)
	}
	watch.sees(u, "IN-FLIGHT", 3)
	stop()

	u.waitReplicas("story", 0, later)
	watch.returnsToZero(u)
	if now := u.kubectl("get", "httpapp", "story", "-o", "jsonpath={.metadata.generation}"); now != version {
		t.Errorf("the spec's generation went from %s to %s without anybody changing it", version, now)
	}

	if _, err := u.get("story", "/again"); err != nil {
		t.Fatalf("the app should wake again: %v", err)
	}
}

// load sends requests, several at a time, until the returned function is called. Each must be answered with 200.
func (u user) load(app string, concurrency int, path string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var failures sync.Map
	for range concurrency {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := u.get(app, path); err != nil {
					failures.Store(err.Error(), true)
				}
			}
		})
	}
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			wg.Wait()
			failures.Range(func(failure, _ any) bool {
				u.Errorf("under load: %v", failure)
				return true
			})
		})
	}
	u.Cleanup(stop)
	return stop
}

// table is a kubectl get --watch that runs beside the test.
type table struct {
	mu   sync.Mutex
	rows []map[string]string
}

// watchTable begins to watch an app, or, for "", all of them.
func (u user) watchTable(app string) *table {
	u.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	args := []string{"get", "httpapp", "--watch"}
	if app != "" {
		args = append(args, app)
	}
	cmd := u.command(ctx, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		u.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		u.Fatal(err)
	}
	u.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
	w := &table{}
	go func() {
		lines := bufio.NewScanner(out)
		var columns []string
		for lines.Scan() {
			cells := strings.Fields(lines.Text())
			if columns == nil {
				columns = cells
				continue
			}
			row := map[string]string{}
			for i, column := range columns {
				if i < len(cells) {
					row[column] = cells[i]
				}
			}
			w.mu.Lock()
			w.rows = append(w.rows, row)
			w.mu.Unlock()
		}
	}()
	return w
}

// sees waits until the column has shown so many different numbers.
func (w *table) sees(u user, column string, different int) {
	u.Helper()
	u.eventually(soon, fmt.Sprintf("%d different numbers under %s", different, column), func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		seen := map[string]bool{}
		for _, row := range w.rows {
			if _, err := strconv.Atoi(row[column]); err == nil {
				seen[row[column]] = true
			}
		}
		if len(seen) < different {
			return fmt.Errorf("only %v in %d rows", seen, len(w.rows))
		}
		return nil
	})
}

// returnsToZero waits until the last row shows an idle app.
func (w *table) returnsToZero(u user) {
	u.Helper()
	u.eventually(soon, "the watch showing an idle app", func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		last := w.rows[len(w.rows)-1]
		if last["PENDING"] != "0" || last["IN-FLIGHT"] != "0" || last["READY"] != "0/0" {
			return fmt.Errorf("its last row is %v", last)
		}
		return nil
	})
}

func TestABodyHeldOverAColdStartArrivesWholeAndOnce(t *testing.T) {
	u := newUser(t)
	u.deploy("post", "--idle", "5s")

	body := make([]byte, 3<<20)
	if _, err := rand.Read(body); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+u.host("post")+"/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Test-Id", u.namespace)
	answer, err := send(req)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%x", sha256.Sum256(body)); answer.SHA256 != want || answer.Bytes != int64(len(body)) {
		t.Errorf("the app got %d bytes with the sum %s, not %d with %s", answer.Bytes, answer.SHA256, len(body), want)
	}
	if answer.Seen != 1 {
		t.Errorf("the app got the request %d times", answer.Seen)
	}
}

func TestLiveCountsAreFieldsOfTheObject(t *testing.T) {
	u := newUser(t)
	u.deploy("live")
	stop := u.load("live", 3, "/?delay=10s")
	u.eventually(soon, "three requests in flight", func() error {
		return u.field("httpapp/live", "{.status.traffic.inFlight}", "3")
	})
	if err := u.field("httpapp/live", "{.status.traffic.pending}", "0"); err != nil {
		t.Error(err)
	}
	// Requests may be served before the cluster says that the pod is ready, which is written.
	u.kubectl("wait", "--for=jsonpath={.status.readyReplicas}=1", "httpapp/live", "--timeout=2m")
	u.kubectl("wait", "--for=condition=Ready", "httpapp/live", "--timeout=2m")
	version := u.kubectl("get", "httpapp", "live", "-o", "jsonpath={.metadata.resourceVersion}")
	stop()
	u.eventually(soon, "no request in flight", func() error {
		return u.field("httpapp/live", "{.status.traffic.inFlight}", "0")
	})
	if now := u.kubectl("get", "httpapp", "live", "-o", "jsonpath={.metadata.resourceVersion}"); now != version {
		t.Errorf("the counts were written: the resourceVersion went from %s to %s", version, now)
	}
}

func TestWatchInTableFormMovesWithoutAnyWrite(t *testing.T) {
	u := newUser(t)
	u.deploy("moving")
	if _, err := u.get("moving", "/"); err != nil {
		t.Fatal(err)
	}
	u.kubectl("wait", "--for=jsonpath={.status.readyReplicas}=1", "httpapp/moving", "--timeout=2m")
	u.routed("moving")
	version := u.kubectl("get", "httpapp", "moving", "-o", "jsonpath={.metadata.resourceVersion}")
	watch := u.watchTable("moving")
	for n := 1; n <= 3; n++ {
		stop := u.load("moving", n, "/?delay=3s")
		want := strconv.Itoa(n)
		u.eventually(soon, "the watch showing "+want+" in flight", func() error {
			watch.mu.Lock()
			defer watch.mu.Unlock()
			for _, row := range watch.rows {
				if row["IN-FLIGHT"] == want {
					return nil
				}
			}
			return fmt.Errorf("its rows are %v", watch.rows)
		})
		stop()
	}
	if now := u.kubectl("get", "httpapp", "moving", "-o", "jsonpath={.metadata.resourceVersion}"); now != version {
		t.Errorf("the resourceVersion went from %s to %s", version, now)
	}
}

func TestManyAppsWakeAtOnce(t *testing.T) {
	u := newUser(t)
	const apps = 5
	for i := range apps {
		u.deploy(fmt.Sprintf("many-%d", i), "--idle", "5m")
	}
	var wg sync.WaitGroup
	for i := range apps {
		wg.Go(func() {
			started := time.Now()
			if _, err := u.get(fmt.Sprintf("many-%d", i), "/"); err != nil {
				t.Error(err)
			}
			t.Logf("app %d answered after %v", i, time.Since(started).Round(time.Millisecond))
		})
	}
	wg.Wait()
}
