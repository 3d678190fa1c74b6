package embedded

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func start(t *testing.T, c Config) (*Etcd, *clientv3.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c.Unsafe = true
	e, err := Start(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{e.Endpoint}, DialTimeout: 10 * time.Second})
	if err != nil {
		e.Close()
		t.Fatal(err)
	}
	return e, client
}

func TestWhatWasWrittenIsThereAfterARestart(t *testing.T) {
	dir := t.TempDir()
	e, client := start(t, Config{Dir: dir})
	_, err := client.Put(t.Context(), "a", "b")
	_ = client.Close()
	e.Close()
	if err != nil {
		t.Fatal(err)
	}
	e, client = start(t, Config{Dir: dir})
	defer e.Close()
	defer client.Close() //nolint:errcheck // the server goes
	got, err := client.Get(t.Context(), "a")
	if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "b" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestWithoutAFolderItDoesNotStart(t *testing.T) {
	if _, err := Start(t.Context(), Config{}); err == nil {
		t.Error("it started")
	}
}
