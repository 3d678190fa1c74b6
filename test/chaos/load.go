package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// workers send one request after the other, each on a connection that it keeps.
	workers = 8
	// pause is between two requests of a worker, and delay is how long the app takes for one.
	pause = 40 * time.Millisecond
	delay = "20ms"
	// patience is the longest that anybody waits for an answer.
	patience = 90 * time.Second
)

// load is a steady load on one address.
type load struct {
	client *http.Client
	host   string
	stop   context.CancelFunc
	done   sync.WaitGroup

	mu         sync.Mutex
	sent, lost int
	longest    time.Duration
	errors     []string
}

// clientOf sends every request to an address, whatever its host.
func clientOf(address string, keep bool) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		MaxIdleConnsPerHost: workers, DisableKeepAlives: !keep,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}}
}

func start(ctx context.Context, address, host string) *load {
	ctx, stop := context.WithCancel(ctx)
	l := &load{client: clientOf(address, true), host: host, stop: stop}
	for range workers {
		l.done.Go(func() {
			for ctx.Err() == nil {
				l.once()
				select {
				case <-time.After(pause): // the rate, not a wait for something
				case <-ctx.Done():
				}
			}
		})
	}
	return l
}

// once sends a request. It is not sent again: GETs are repeated by net/http when a connection that was kept turns out to be closed, as by every browser.
func (l *load) once() {
	began := time.Now()
	err := ask(context.Background(), l.client, l.host, "/steady?delay="+delay)
	took := time.Since(began)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	l.longest = max(l.longest, took)
	if err != nil {
		l.lost++
		if len(l.errors) < 5 {
			l.errors = append(l.errors, fmt.Sprintf("after %.2fs: %v", took.Seconds(), err))
		}
	}
}

// count is how many have been answered, or not.
func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent
}

// settled waits until the load flows.
func (l *load) settled(ctx context.Context) {
	for ctx.Err() == nil && l.count() < 10*workers {
		time.Sleep(pause)
	}
}

// end waits for the requests that have been sent.
func (l *load) end() {
	l.stop()
	l.done.Wait()
	l.client.CloseIdleConnections()
}

// ask sends a request to an app and checks that it was that app which answered it.
func ask(ctx context.Context, client *http.Client, host, path string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+path, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %.200s", res.Status, body)
	}
	var said struct{ Host string }
	if err := json.Unmarshal(body, &said); err != nil {
		return fmt.Errorf("%w: %.200s", err, body)
	}
	if said.Host != host {
		return fmt.Errorf("the answer is for %s", said.Host)
	}
	return nil
}
