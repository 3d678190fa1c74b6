package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
)

// chunk is what bodies are made of.
var chunk = []byte(strings.Repeat("0123456789abcdef", 4<<10))

// download gives ?size=N bytes, a multiple of 64 KiB.
func (s *server) download(w http.ResponseWriter, r *http.Request) {
	var size int
	if _, err := fmt.Sscan(r.URL.Query().Get("size"), &size); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(size))
	for sent := 0; sent < size; sent += len(chunk) {
		if _, err := w.Write(chunk[:min(len(chunk), size-sent)]); err != nil {
			return
		}
	}
}

// mirror gives the body back while it comes.
func (s *server) mirror(w http.ResponseWriter, r *http.Request) {
	c := http.NewResponseController(w)
	_ = c.EnableFullDuplex()
	if err := c.Flush(); err != nil {
		return
	}
	buffer := make([]byte, 32<<10)
	for {
		n, err := r.Body.Read(buffer)
		if _, failed := w.Write(buffer[:n]); failed != nil || c.Flush() != nil {
			return
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// hints answers with 103 (Early Hints) first.
func (s *server) hints(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Link", "</style.css>; rel=preload")
	w.WriteHeader(http.StatusEarlyHints)
	s.echo(w, r)
}

// sockets are the WebSockets that are open.
type sockets struct {
	pod  string
	open sync.WaitGroup
	// ending ends when the process is to end.
	ending context.Context
	// after is how long they stay open then.
	after time.Duration
}

var upgrader = websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}

// serve echoes messages. When the pod has to end it goes on for a while, then says goodbye.
func (s *sockets) serve(w http.ResponseWriter, r *http.Request) {
	s.open.Add(1)
	defer s.open.Done()
	c, err := upgrader.Upgrade(w, r, http.Header{"X-Pod": {s.pod}})
	if err != nil {
		return
	}
	defer c.Close() //nolint:errcheck // nothing more is said
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-s.ending.Done():
		case <-over:
			return
		}
		select {
		case <-time.After(s.after):
		case <-over:
			return
		}
		_ = c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseGoingAway, "the pod ends"), time.Now().Add(time.Second))
	}()
	for {
		kind, message, err := c.ReadMessage()
		if err != nil || c.WriteMessage(kind, message) != nil {
			return
		}
	}
}

// talk echoes in a protocol that nobody else knows, until the other end has said all.
func (s *sockets) talk(w http.ResponseWriter, r *http.Request) {
	s.open.Add(1)
	defer s.open.Done()
	if r.Header.Get("Upgrade") != "foo" {
		http.Error(w, "only with Upgrade: foo", http.StatusUpgradeRequired)
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close() //nolint:errcheck // all was said
	if _, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n"); err == nil {
		_, _ = io.Copy(conn, rw) // the other end sees
	}
}

// calls is gRPC's own test service: payloads come back as they are, and so does the metadata x-echo, in the trailers.
type calls struct {
	grpc_testing.UnimplementedTestServiceServer
}

func trailer(ctx context.Context) metadata.MD {
	in, _ := metadata.FromIncomingContext(ctx)
	return metadata.MD{"x-echo": in.Get("x-echo")}
}

func (calls) UnaryCall(ctx context.Context, r *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	if err := grpc.SetTrailer(ctx, trailer(ctx)); err != nil {
		return nil, err
	}
	return &grpc_testing.SimpleResponse{Payload: r.GetPayload()}, nil
}

// StreamingOutputCall gives a message for each of the response's parameters, after its interval.
func (calls) StreamingOutputCall(r *grpc_testing.StreamingOutputCallRequest, s grpc.ServerStreamingServer[grpc_testing.StreamingOutputCallResponse]) error {
	s.SetTrailer(trailer(s.Context()))
	for _, p := range r.GetResponseParameters() {
		select {
		case <-time.After(time.Duration(p.GetIntervalUs()) * time.Microsecond):
		case <-s.Context().Done():
			return s.Context().Err()
		}
		if err := s.Send(&grpc_testing.StreamingOutputCallResponse{Payload: &grpc_testing.Payload{Body: make([]byte, p.GetSize())}}); err != nil {
			return err
		}
	}
	return nil
}

func (calls) StreamingInputCall(s grpc.ClientStreamingServer[grpc_testing.StreamingInputCallRequest, grpc_testing.StreamingInputCallResponse]) error {
	s.SetTrailer(trailer(s.Context()))
	size := 0
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return s.SendAndClose(&grpc_testing.StreamingInputCallResponse{AggregatedPayloadSize: int32(size)})
		}
		if err != nil {
			return err
		}
		size += len(r.GetPayload().GetBody())
	}
}

func (calls) FullDuplexCall(s grpc.BidiStreamingServer[grpc_testing.StreamingOutputCallRequest, grpc_testing.StreamingOutputCallResponse]) error {
	s.SetTrailer(trailer(s.Context()))
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Send(&grpc_testing.StreamingOutputCallResponse{Payload: r.GetPayload()}); err != nil {
			return err
		}
	}
}

// withCalls answers gRPC on the same port as everything else.
func withCalls(others http.Handler) http.Handler {
	g := grpc.NewServer()
	grpc_testing.RegisterTestServiceServer(g, calls{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			g.ServeHTTP(w, r)
			return
		}
		others.ServeHTTP(w, r)
	})
}
