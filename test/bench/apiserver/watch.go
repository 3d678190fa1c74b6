package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/kedahttp/kedahttp/test/bench/report"
)

// event is what is looked at of an event, of an object or of a table.
type event struct {
	Type   string `json:"type"`
	Object struct {
		Metadata struct {
			Name   string            `json:"name"`
			Labels map[string]string `json:"labels"`
		} `json:"metadata"`
		ColumnDefinitions []struct {
			Name string `json:"name"`
		} `json:"columnDefinitions"`
		Rows []struct {
			Cells []any `json:"cells"`
		} `json:"rows"`
	} `json:"object"`
}

// version is that of a list of a kind.
func (b *bench) version(ctx context.Context, k kind) (string, error) {
	data, err := b.raw.Get().AbsPath(k.path("")).Param("limit", "1").Do(ctx).Raw()
	if err != nil {
		return "", err
	}
	var list struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	return list.Metadata.ResourceVersion, json.Unmarshal(data, &list)
}

// follow opens a watch and hands over each line until the context ends. It returns once the server has answered.
func (b *bench) follow(ctx context.Context, k kind, version, accept string, line func([]byte)) (wait func() error, _ error) {
	body, err := b.raw.Get().AbsPath(k.path("")).Param("watch", "1").Param("resourceVersion", version).Param("timeoutSeconds", "1800").
		SetHeader("Accept", accept).Stream(ctx)
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() {
		defer body.Close() //nolint:errcheck // only read
		lines := bufio.NewReaderSize(body, 4096)
		for {
			data, err := lines.ReadBytes('\n')
			if err != nil {
				if ctx.Err() != nil || err == io.EOF {
					err = nil
				}
				done <- err
				return
			}
			line(data)
		}
	}()
	return func() error { return <-done }, nil
}

// watch measures how long a change takes to a watcher, among some.
func (b *bench) watch(ctx context.Context) error {
	const watchers, changes = 50, 200
	delays := map[kind]report.Times{}
	for _, k := range both {
		version, err := b.version(ctx, k)
		if err != nil {
			return err
		}
		var mu sync.Mutex
		var started time.Time
		var round string
		arrived := make(chan struct{}, watchers)
		watching, cancel := context.WithCancel(ctx)
		defer cancel()
		for range watchers {
			if _, err := b.follow(watching, k, version, "application/json", func(data []byte) {
				now := time.Now()
				var e event
				if err := json.Unmarshal(data, &e); err != nil {
					return
				}
				mu.Lock()
				counts := e.Object.Metadata.Labels["touched"] == round
				if counts {
					delays[k] = append(delays[k], now.Sub(started))
				}
				mu.Unlock()
				if counts {
					arrived <- struct{}{}
				}
			}); err != nil {
				return err
			}
		}
		for n := range changes {
			mu.Lock()
			round, started = fmt.Sprint(100_000+n), time.Now()
			mu.Unlock()
			if err := b.touch(ctx, k, n%b.apps, 100_000+n); err != nil {
				return err
			}
			for range watchers {
				select {
				case <-arrived:
				case <-time.After(30 * time.Second):
					return fmt.Errorf("%s: a watch did not deliver a change", k.plural)
				}
			}
		}
		cancel()
	}
	return b.both50and99(2, fmt.Sprintf("change to event, %d watchers", watchers), delays)
}
