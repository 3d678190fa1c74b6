package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/sync/errgroup"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

const (
	// socketHost is that of the app whose pod speaks WebSocket.
	socketHost = "socket.example.com"
	// conversations is how many streams there are at a time. Each waits for the answer to a message before it sends the next.
	conversations = 32
	messageSize   = 64
)

// runSocketBackend gives every message of a WebSocket back.
func runSocketBackend([]string) error {
	l, err := listen()
	if err != nil {
		return err
	}
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	s := &http.Server{ReadHeaderTimeout: 30 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close() //nolint:errcheck // the other end has left
		for {
			kind, m, err := c.ReadMessage()
			if err != nil || c.WriteMessage(kind, m) != nil {
				return
			}
		}
	})}
	return s.Serve(l)
}

// echoStream gives what comes on a stream of gRPC back as it comes.
func echoStream(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["Trailer"], h["Content-Type"] = []string{"Grpc-Status"}, []string{"application/grpc"}
	c := http.NewResponseController(w)
	if c.Flush() != nil {
		return
	}
	message := make([]byte, 4<<10)
	for {
		n, err := r.Body.Read(message)
		if _, failed := w.Write(message[:n]); failed != nil || c.Flush() != nil {
			return
		}
		if err != nil {
			break
		}
	}
	h["Grpc-Status"] = []string{"0"}
}

// talk is a stream on which one message is sent and waited for.
type talk struct {
	once func() error
	end  func()
}

// converse has streams talk for the time of a measurement and returns how many messages came back per second.
func (b *bench) converse(ctx context.Context, open func(context.Context) (*talk, error)) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(b.seconds)*time.Second+patience)
	defer cancel()
	var talks []*talk
	defer func() {
		for _, t := range talks {
			t.end()
		}
	}()
	for range conversations {
		t, err := open(ctx)
		if err != nil {
			return 0, err
		}
		talks = append(talks, t)
	}
	var over atomic.Bool
	timer := time.AfterFunc(time.Duration(b.seconds)*time.Second, func() { over.Store(true) })
	defer timer.Stop()
	var n atomic.Int64
	began := time.Now()
	var all errgroup.Group
	for _, t := range talks {
		all.Go(func() error {
			for !over.Load() {
				if err := t.once(); err != nil {
					return err
				}
				n.Add(1)
			}
			return nil
		})
	}
	err := all.Wait()
	return float64(n.Load()) / time.Since(began).Seconds(), err
}

func socketTalk(address string) func(context.Context) (*talk, error) {
	return func(ctx context.Context) (*talk, error) {
		d := websocket.Dialer{NetDialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		}}
		c, _, err := d.DialContext(ctx, "ws://"+socketHost+"/", nil)
		if err != nil {
			return nil, err
		}
		message := make([]byte, messageSize)
		return &talk{
			once: func() error {
				if err := c.WriteMessage(websocket.BinaryMessage, message); err != nil {
					return err
				}
				_ = c.SetReadDeadline(time.Now().Add(patience))
				_, back, err := c.ReadMessage()
				if err == nil && len(back) != messageSize {
					err = fmt.Errorf("%d bytes came back", len(back))
				}
				return err
			},
			end: func() { _ = c.Close() },
		}, nil
	}
}

// streamTalk opens streams of gRPC, eight on each connection.
func streamTalk(address string) (open func(context.Context) (*talk, error), end func()) {
	var mu sync.Mutex
	var clients []*http.Transport
	streams := 0
	open = func(ctx context.Context) (*talk, error) {
		mu.Lock()
		if streams%8 == 0 {
			t := &http.Transport{Protocols: new(http.Protocols)}
			t.Protocols.SetUnencryptedHTTP2(true)
			clients = append(clients, t)
		}
		streams++
		t := clients[len(clients)-1]
		mu.Unlock()
		body, out := io.Pipe()
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/bench.Echo/Stream", body)
		if err != nil {
			return nil, err
		}
		r.Host = grpcHost
		r.Header["Te"], r.Header["Content-Type"] = []string{"trailers"}, []string{"application/grpc"}
		res, err := t.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		if res.StatusCode != http.StatusOK {
			return nil, errors.Join(fmt.Errorf("a stream is answered with %s", res.Status), res.Body.Close())
		}
		message := append([]byte{0, 0, 0, 0, messageSize}, make([]byte, messageSize)...)
		back := make([]byte, len(message))
		return &talk{
			once: func() error {
				if _, err := out.Write(message); err != nil {
					return err
				}
				_, err := io.ReadFull(res.Body, back)
				return err
			},
			end: func() { _ = out.Close(); _ = res.Body.Close() },
		}, nil
	}
	return open, func() {
		for _, t := range clients {
			t.CloseIdleConnections()
		}
	}
}

// streams measures messages that go to and fro: on WebSockets and on streams of gRPC.
func (b *bench) streams(ctx context.Context) error {
	socket, err := startRole(ctx, direct, "socketbackend")
	if err != nil {
		return err
	}
	defer socket.stop()
	proxy, err := b.startSocketNginx(ctx, socket.address)
	if err != nil {
		return err
	}
	defer proxy.stop()
	if err := errors.Join(
		b.cluster.setApp("socket", socketHost, v1alpha1.ProtocolHTTP1), b.cluster.setPod("socket", socket.address),
		b.cluster.setApp("grpc", grpcHost, v1alpha1.ProtocolH2C), b.cluster.setPod("grpc", b.grpcBackend.address),
	); err != nil {
		return err
	}
	subjects := []*process{b.subject(direct), b.subject(nginx), b.subject(ours)}
	for _, c := range []struct {
		name      string
		addresses map[string]string
		measure   func(ctx context.Context, address string) (float64, error)
	}{
		{"WebSocket echoes, 32 connections", map[string]string{direct: socket.address, nginx: proxy.address, ours: b.subject(ours).address},
			func(ctx context.Context, address string) (float64, error) {
				return b.converse(ctx, socketTalk(address))
			}},
		{"gRPC messages on streams both ways, 4 connections, 8 streams each", map[string]string{direct: b.grpcBackend.address, nginx: b.subject(nginx).grpc, ours: b.subject(ours).grpc},
			func(ctx context.Context, address string) (float64, error) {
				open, end := streamTalk(address)
				defer end()
				return b.converse(ctx, open)
			}},
	} {
		all, err := alternate(ctx, b.rounds, subjects, func(ctx context.Context, p *process) (float64, error) {
			return c.measure(ctx, c.addresses[p.name])
		})
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		rate := func(r float64) float64 { return r }
		for _, r := range subjects[:2] {
			if err := b.report.AtLeast(asNginx[r.name], c.name, "1/s", median(all[ours], rate), r.name, median(all[r.name], rate)); err != nil {
				return err
			}
		}
	}
	return nil
}
