package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/kedahttp/kedahttp/test/bench/report"
)

const goalOf = "the goal"

// hold sends a request that is held, as nothing runs that could answer it, until the connection is closed.
func (b *bench) hold(n int) (net.Conn, time.Time, error) {
	conn, err := net.DialTimeout("tcp", b.interceptor, 5*time.Second)
	if err != nil {
		return nil, time.Time{}, err
	}
	_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host(n))
	return conn, time.Now(), err
}

// countToGet measures how long after a request was sent a GET shows it as pending.
func (b *bench) countToGet(ctx context.Context) error {
	var delays report.Times
	for n := range 300 {
		app := n % b.apps
		conn, sent, err := b.hold(app)
		if err != nil {
			return err
		}
		for {
			data, err := b.raw.Get().AbsPath(ours.path(appName(app))).Do(ctx).Raw()
			if err != nil {
				return err
			}
			now := time.Now()
			var object struct {
				Status struct {
					Traffic struct {
						Pending int64 `json:"pending"`
					} `json:"traffic"`
				} `json:"status"`
			}
			if err := json.Unmarshal(data, &object); err != nil {
				return err
			}
			if object.Status.Traffic.Pending > 0 {
				delays = append(delays, now.Sub(sent))
				break
			}
			if now.Sub(sent) > 10*time.Second {
				return fmt.Errorf("a request for %s is not seen in its counts; are the interceptors reached at %s?", host(app), b.interceptor)
			}
		}
		if err := conn.Close(); err != nil {
			return err
		}
	}
	if err := b.report.AtMost(0, "request to GET that shows it, median of 300", "ms", delays.Quantile(.5), goalOf, 50); err != nil {
		return err
	}
	return b.report.AtMost(1, "request to GET that shows it, p99 of 300", "ms", delays.Quantile(.99), goalOf, 50)
}

// countToLine measures how long after requests were sent every kubectl get -w has a line that shows them, while ten apps move
// faster than lines do.
func (b *bench) countToLine(ctx context.Context) error {
	const watchers, moving, steps = 200, 10, 12
	version, err := b.version(ctx, ours)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var delays report.Times
	strangers := 0
	sent := map[string][]time.Time{} // by app that moves, when its nth request was sent
	first := b.apps / 2
	for n := range moving {
		sent[appName(first+n)] = nil
	}
	shown := make([]map[string]int, watchers)
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	for i := range watchers {
		shown[i] = map[string]int{}
		column := -1
		if _, err := b.follow(watching, ours, version, asTable, func(data []byte) {
			now := time.Now()
			var e event
			if err := json.Unmarshal(data, &e); err != nil {
				return
			}
			for at, c := range e.Object.ColumnDefinitions {
				if c.Name == "Pending" {
					column = at
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for _, row := range e.Object.Rows {
				name, _ := row.Cells[0].(string)
				times, moves := sent[name]
				if !moves {
					strangers++
					continue
				}
				pending, err := strconv.Atoi(fmt.Sprint(row.Cells[column]))
				if err != nil {
					continue
				}
				for n := shown[i][name]; n < min(pending, len(times)); n++ {
					delays = append(delays, now.Sub(times[n]))
					shown[i][name] = n + 1
				}
			}
		}); err != nil {
			return err
		}
	}
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for range steps {
		for n := range moving {
			conn, at, err := b.hold(first + n)
			if err != nil {
				return err
			}
			conns = append(conns, conn)
			mu.Lock()
			sent[appName(first+n)] = append(sent[appName(first+n)], at)
			mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(200+rand.IntN(400)) * time.Millisecond):
		}
	}
	want := watchers * moving * steps
	for deadline := time.Now().Add(30 * time.Second); ; {
		mu.Lock()
		have := len(delays)
		mu.Unlock()
		if have == want {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("of %d counts only %d came as lines", want, have)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if strangers > 0 {
		return fmt.Errorf("%d lines came of apps that did not move", strangers)
	}
	return b.report.AtMost(1, fmt.Sprintf("request to every line of %d watches, p99", watchers), "ms", delays.Quantile(.99), goalOf, 1200)
}

// memory measures what our server takes with all apps and many watchers: half of them of tables, which move.
func (b *bench) memory(ctx context.Context) error {
	idle, err := b.workingSet(ctx)
	if err != nil {
		return err
	}
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	version, err := b.version(ctx, ours)
	if err != nil {
		return err
	}
	for n := range b.watchers {
		accept := "application/json"
		if n%2 == 0 {
			accept = asTable
		}
		if _, err := b.follow(watching, ours, version, accept, func([]byte) {}); err != nil {
			return err
		}
	}
	// Something of what they are there for, and a list.
	for n := range 200 {
		if err := b.touch(ctx, ours, n%b.apps, n); err != nil {
			return err
		}
		conn, _, err := b.hold(n % b.apps)
		if err != nil {
			return err
		}
		_ = conn.Close()
	}
	if err := b.get(ctx, ours.path(""), "application/json"); err != nil {
		return err
	}
	busy, err := b.workingSet(ctx)
	if err != nil {
		return err
	}
	if err := b.report.AtMost(0, fmt.Sprintf("memory at %d apps", b.apps), "MB", idle, goalOf, 150); err != nil {
		return err
	}
	return b.report.AtMost(1, fmt.Sprintf("memory at %d apps and %d watchers", b.apps, b.watchers), "MB", busy, goalOf, 150)
}

// workingSet is the working set, in MB, of the replica of our API server that has most, as the kubelet tells it: what a limit
// holds for.
func (b *bench) workingSet(ctx context.Context) (float64, error) {
	nodes, err := b.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	most := 0.0
	for _, node := range nodes.Items {
		// Only so are the numbers of now.
		data, err := b.raw.Get().AbsPath("/api/v1/nodes", node.Name, "proxy/stats/summary").Param("only_cpu_and_memory", "true").Do(ctx).Raw()
		if err != nil {
			return 0, err
		}
		var summary struct {
			Pods []struct {
				PodRef struct {
					Namespace string `json:"namespace"`
					Name      string `json:"name"`
				} `json:"podRef"`
				Containers []struct {
					Memory struct {
						WorkingSetBytes float64 `json:"workingSetBytes"`
					} `json:"memory"`
				} `json:"containers"`
			} `json:"pods"`
		}
		if err := json.Unmarshal(data, &summary); err != nil {
			return 0, err
		}
		for _, pod := range summary.Pods {
			if pod.PodRef.Namespace == system && strings.HasPrefix(pod.PodRef.Name, "kedahttp-apiserver-") {
				for _, c := range pod.Containers {
					most = max(most, c.Memory.WorkingSetBytes/1e6)
				}
			}
		}
	}
	if most == 0 {
		return 0, fmt.Errorf("the kubelets tell of no memory of the API server")
	}
	return most, nil
}

// restart counts the GETs that fail while both replicas are replaced one after the other, and how often the APIService goes.
func (b *bench) restart(ctx context.Context) error {
	services, err := dynamic.NewForConfig(b.config)
	if err != nil {
		return err
	}
	apiServices := services.Resource(schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"})
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := apiServices.Watch(watching, metav1.ListOptions{FieldSelector: "metadata.name=v1alpha1.apps.http.keda.sh"})
	if err != nil {
		return err
	}
	unavailable := make(chan int, 1)
	go func() {
		n := 0
		for e := range w.ResultChan() {
			object, ok := e.Object.(*unstructured.Unstructured)
			if !ok {
				continue
			}
			conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
			for _, entry := range conditions {
				if c, ok := entry.(map[string]any); ok && c["type"] == "Available" && c["status"] != "True" {
					n++
				}
			}
		}
		unavailable <- n
	}()

	var wg sync.WaitGroup
	var mu sync.Mutex
	gets, failed := 0, 0
	var last error
	for range 4 {
		wg.Go(func() {
			for n := 0; watching.Err() == nil; n++ {
				err := b.get(watching, ours.path(appName(n%b.apps)), "application/json")
				if watching.Err() != nil {
					return
				}
				mu.Lock()
				gets++
				if err != nil {
					failed++
					last = err
				}
				mu.Unlock()
			}
		})
	}
	err = b.rollOut(ctx)
	cancel()
	wg.Wait()
	if err != nil {
		return err
	}
	if failed > 0 {
		fmt.Fprintln(os.Stderr, "  the last GET that failed:", last)
	}
	if err := b.report.None("GETs that failed while all replicas were replaced", "of all", float64(failed), "all GETs", float64(gets)); err != nil {
		return err
	}
	return b.report.None("times the APIService went unavailable meanwhile", "times", float64(<-unavailable), "all GETs", float64(gets))
}
