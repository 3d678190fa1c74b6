package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// grpcHost is that of the app whose pod speaks gRPC.
const grpcHost = "grpc.example.com"

// runGRPCBackend answers every call of gRPC with the messages that it came with. It does what a gRPC server does on the
// wire, and no more.
func runGRPCBackend([]string) error {
	l, err := listen()
	if err != nil {
		return err
	}
	s := &http.Server{ReadHeaderTimeout: 30 * time.Second, Protocols: new(http.Protocols), HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 1000}}
	s.Protocols.SetUnencryptedHTTP2(true)
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bench.Echo/Stream" {
			echoStream(w, r)
			return
		}
		h := w.Header()
		message, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("Te") != "trailers" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		h["Trailer"], h["Content-Type"] = []string{"Grpc-Status"}, []string{"application/grpc"}
		_, _ = w.Write(message)
		h["Grpc-Status"] = []string{"0"}
	})
	return s.Serve(l)
}

// http2 measures HTTP/2 in plain text, in front of a backend that speaks HTTP/1.1, and unary calls of gRPC.
func (b *bench) http2(ctx context.Context) error {
	rate := func(r float64) float64 { return r }
	for _, streams := range []int{1, 32} {
		all, err := alternate(ctx, b.rounds, b.subjects[1:], func(ctx context.Context, p *process) (float64, error) {
			return b.h2load(ctx, p.http2, host(0), small, streams, nil)
		})
		if err != nil {
			return fmt.Errorf("%d streams: %w", streams, err)
		}
		name := fmt.Sprintf("HTTP/2 requests, 8 connections, %d streams each", streams)
		for _, r := range b.references()[1:] {
			if err := b.report.AtLeast(asNginx[r.name], name, "1/s", median(all[ours], rate), r.name, median(all[r.name], rate)); err != nil {
				return err
			}
		}
	}
	return b.grpc(ctx)
}

func (b *bench) grpc(ctx context.Context) error {
	if err := b.cluster.setApp("grpc", grpcHost, v1alpha1.ProtocolH2C); err != nil {
		return err
	}
	if err := b.cluster.setPod("grpc", b.grpcBackend.address); err != nil {
		return err
	}
	addresses := map[string]string{ours: b.subject(ours).grpc, nginx: b.subject(nginx).grpc, direct: b.grpcBackend.address}
	subjects := []*process{b.subject(direct), b.subject(nginx), b.subject(ours)}
	// A message of 64 bytes, which is not compressed.
	message := append([]byte{0, 0, 0, 0, 64}, make([]byte, 64)...)
	all, err := alternate(ctx, b.rounds, subjects, func(ctx context.Context, p *process) (float64, error) {
		return b.h2load(ctx, addresses[p.name], grpcHost, "/bench.Echo/Unary", 32, message)
	})
	if err != nil {
		return fmt.Errorf("gRPC: %w", err)
	}
	rate := func(r float64) float64 { return r }
	for _, r := range subjects[:2] {
		if err := b.report.AtLeast(asNginx[r.name], "gRPC unary calls, 8 connections, 32 streams each", "1/s", median(all[ours], rate), r.name, median(all[r.name], rate)); err != nil {
			return err
		}
	}
	return nil
}
