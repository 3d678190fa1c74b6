package plugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestAReportTellsWarmFromColdAndWhatFailed(t *testing.T) {
	r := newReport()
	for range 98 {
		r.add(answer{status: 200}, 2*time.Millisecond)
	}
	r.add(answer{status: 200}, 20*time.Millisecond)
	r.add(answer{status: 200, cold: "total=0.612, address=0.401, first-byte=0.612"}, 620*time.Millisecond)
	r.add(answer{err: fmt.Errorf("Get %q: %w", "http://a.test/", errors.New("EOF"))}, time.Second)
	r.Took = 2 * time.Second
	var out bytes.Buffer
	if err := r.print(&out); err != nil {
		t.Fatal(err)
	}
	const want = `101 requests in 2s, 50.5 per second
  100 with 200
  1 without a response: EOF

              count    min    p50    p90    p99    p99.9      max
        warm     99    2ms    2ms    2ms    2ms  20.02ms  20.02ms
        cold      1  620ms  620ms  620ms  620ms    620ms    620ms
       total      1  612ms  612ms  612ms  612ms    612ms    612ms
     address      1  401ms  401ms  401ms  401ms    401ms    401ms
  first-byte      1  612ms  612ms  612ms  612ms    612ms    612ms

  <   2.05ms  ████████████████████████████████████████ 98
  <    4.1ms                                           0
  <   8.19ms                                           0
  <  16.38ms                                           0
  <  32.77ms  █                                        1
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
	if !r.bad() {
		t.Error("a request without a response is no failure")
	}
}

func TestALoadSendsAsManyRequestsAsItIsTo(t *testing.T) {
	var got, now, most atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		got.Add(1)
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		time.Sleep(time.Millisecond)
	}))
	defer server.Close()
	for name, o := range map[string]*loadOptions{
		"as fast as they are answered": {session: &session{now: time.Now}, concurrency: 3, requests: 50},
		"at a rate":                    {session: &session{now: time.Now}, concurrency: 3, requests: 50, rate: 1000},
	} {
		got.Store(0)
		r := newReport()
		if err := o.drive(t.Context(), asker(server.Client(), http.MethodGet, server.URL), r); err != nil {
			t.Fatal(err)
		}
		if got.Load() != 50 || r.statuses[200] != 50 || most.Load() > 3 {
			t.Errorf("%s: %d requests, %d at a time; %v", name, got.Load(), most.Load(), r.statuses)
		}
	}
}

// The end is not one of the moments at which a request is due.
func TestAtARateForATimeThereAreAsManyRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReport()
		o := &loadOptions{session: &session{now: time.Now}, concurrency: 1, rate: 20, duration: time.Second}
		if err := o.drive(t.Context(), func(context.Context) answer { return answer{status: 200} }, r); err != nil {
			t.Fatal(err)
		}
		if r.statuses[200] != 20 {
			t.Errorf("20 a second are %v in a second", r.statuses)
		}
	})
}

// A server that is too slow does not slow down the pace, and what waits for it counts.
func TestAtARateTimesCountFromWhenARequestWasDue(t *testing.T) {
	r := newReport()
	turn := make(chan struct{}, 1)
	turn <- struct{}{}
	slow := func(context.Context) answer {
		<-turn
		time.Sleep(20 * time.Millisecond)
		turn <- struct{}{}
		return answer{status: 200}
	}
	o := &loadOptions{session: &session{now: time.Now}, concurrency: 1, requests: 10, rate: 1000}
	if err := o.drive(t.Context(), slow, r); err != nil {
		t.Fatal(err)
	}
	// The last was due after 9 ms and was answered after 200 ms at the earliest.
	if last := time.Duration(r.warm.Max()) * time.Microsecond; last < 180*time.Millisecond {
		t.Errorf("the longest took %v", last)
	}
}

func TestWrongLoadsAreRefused(t *testing.T) {
	for _, args := range [][]string{
		{"-c", "0"}, {"-c", "5000"}, {"--requests", "0"}, {"-z", "3h"}, {"--cold", "--rate", "5"}, {"--cold", "--requests", "1000"}, {"-o", "xml"}, {"--rate=-1"}, {"path"},
	} {
		if _, err := call(t, append([]string{"load", "hello"}, args...)...); ExitCode(err) != ExitUsage {
			t.Errorf("%v: %v", args, err)
		}
	}
}
