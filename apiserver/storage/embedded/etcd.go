// Package embedded runs an etcd of one member inside the process, for the API server's development and tests.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// Config says where etcd keeps its data, and how.
type Config struct {
	// Dir is the folder of the data. It is made if it is not there.
	Dir string
	// Unsafe does not wait for the disk: a crash of the machine loses writes. For tests.
	Unsafe bool
	// ProgressInterval is how often idle watches hear of the version; 0: etcd's default.
	ProgressInterval time.Duration
}

// Etcd is a running etcd. It listens on a Unix socket that only this user can reach.
type Etcd struct {
	// Endpoint is what clients connect to.
	Endpoint string
	etcd     *embed.Etcd
	sockets  string
}

// Start starts etcd and waits until it serves.
func Start(ctx context.Context, c Config) (*Etcd, error) {
	if c.Dir == "" {
		return nil, errors.New("an embedded etcd needs a folder for its data")
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, err
	}
	// Beside the data the path could become too long for a socket.
	sockets, err := os.MkdirTemp("", "etcd-")
	if err != nil {
		return nil, err
	}
	socket := func(name string) url.URL { return url.URL{Scheme: "unix", Path: filepath.Join(sockets, name)} }
	config := embed.NewConfig()
	config.Name = "embedded"
	config.Dir = c.Dir
	config.ListenClientUrls = []url.URL{socket("client")}
	config.AdvertiseClientUrls = config.ListenClientUrls
	config.ListenPeerUrls = []url.URL{socket("peer")}
	// Nobody dials it, as there is no other member, but it must look like an address.
	config.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "localhost:2380"}}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.UnsafeNoFsync = c.Unsafe
	if c.ProgressInterval > 0 {
		config.WatchProgressNotifyInterval = c.ProgressInterval
	}
	logger, err := zap.Config{
		Level: zap.NewAtomicLevelAt(zap.ErrorLevel), Encoding: "json", EncoderConfig: zap.NewProductionEncoderConfig(),
		OutputPaths: []string{"stderr"}, ErrorOutputPaths: []string{"stderr"},
	}.Build()
	if err != nil {
		return nil, err
	}
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger)

	e := &Etcd{Endpoint: config.ListenClientUrls[0].String(), sockets: sockets}
	if e.etcd, err = embed.StartEtcd(config); err != nil {
		_ = os.RemoveAll(sockets)
		return nil, fmt.Errorf("starting the embedded etcd in %s: %w", c.Dir, err)
	}
	select {
	case <-e.etcd.Server.ReadyNotify():
		return e, nil
	case err = <-e.etcd.Err():
	case <-ctx.Done():
		err = ctx.Err()
	}
	e.Close()
	return nil, fmt.Errorf("waiting for the embedded etcd in %s: %w", c.Dir, err)
}

// Err hears when etcd has failed.
func (e *Etcd) Err() <-chan error { return e.etcd.Err() }

// Close stops etcd.
func (e *Etcd) Close() {
	e.etcd.Close()
	_ = os.RemoveAll(e.sockets)
}
