// Command echo is the app that the demo and the tests run: it says which pod answered, takes as long as it is asked to,
// and gives back what it was sent.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// answer is what every path but the streaming ones gives back, as JSON.
type answer struct {
	Pod    string `json:"pod"`
	Method string `json:"method"`
	// Proto is the version of HTTP, and TLS whether it came with TLS.
	Proto  string      `json:"proto"`
	TLS    bool        `json:"tls"`
	Host   string      `json:"host"`
	Path   string      `json:"path"`
	Header http.Header `json:"header"`
	// Bytes and SHA256 are those of the request's body.
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	// Seen is how often this pod has been sent the same X-Test-Id.
	Seen int `json:"seen"`
	// Most is the most requests that this pod has had at the same time.
	Most int `json:"most"`
}

type server struct {
	pod  string
	mu   sync.Mutex
	seen map[string]int
	// now and most are how many requests there are and were at most.
	now, most int
}

// enter counts a request that begins, and returns the most that there were.
func (s *server) enter() (most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now++
	s.most = max(s.most, s.now)
	return s.most
}

func (s *server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now--
}

func (s *server) count(id string) int {
	if id == "" {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[id]++
	return s.seen[id]
}

// echo waits for ?delay=DURATION, reads the body and tells what it got.
func (s *server) echo(w http.ResponseWriter, r *http.Request) {
	most := s.enter()
	defer s.leave()
	sum := sha256.New()
	n, err := io.Copy(sum, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	seen := s.count(r.Header.Get("X-Test-Id"))
	if delay := r.URL.Query().Get("delay"); delay != "" {
		d, err := time.ParseDuration(delay)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		select {
		case <-time.After(d):
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Pod", s.pod)
	_ = json.NewEncoder(w).Encode(answer{
		Pod: s.pod, Method: r.Method, Proto: r.Proto, TLS: r.TLS != nil, Host: r.Host, Path: r.URL.Path, Header: r.Header,
		Bytes: n, SHA256: fmt.Sprintf("%x", sum.Sum(nil)), Seen: seen, Most: most,
	})
}

// events streams ?count=N server-sent events, one each ?every=DURATION. With ?stay=true the stream does not end with the last.
func (s *server) events(w http.ResponseWriter, r *http.Request) {
	var count int
	if _, err := fmt.Sscan(r.URL.Query().Get("count"), &count); err != nil {
		count = 5
	}
	every, err := time.ParseDuration(r.URL.Query().Get("every"))
	if err != nil {
		every = 100 * time.Millisecond
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for i := range count {
		fmt.Fprintf(w, "id: %d\ndata: %s\n\n", i, s.pod)
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-time.After(every):
		case <-r.Context().Done():
			return
		}
	}
	if r.URL.Query().Get("stay") == "true" {
		<-r.Context().Done()
	}
}

// check is an exec probe: it fails unless the app in the same container answers.
func check(port string) {
	res, err := http.Get("http://127.0.0.1:" + port + "/healthz")
	if err != nil {
		log.Fatal(err)
	}
	_ = res.Body.Close()
}

// reach says of each address whether it can be connected to from here.
func reach(addresses []string) {
	answers := make([]string, len(addresses))
	var all sync.WaitGroup
	for i, address := range addresses {
		all.Go(func() {
			conn, err := net.DialTimeout("tcp", address, 2*time.Second)
			answers[i] = address + " no"
			if err == nil {
				answers[i] = address + " yes"
				_ = conn.Close()
			}
		})
	}
	all.Wait()
	for _, answer := range answers {
		fmt.Println(answer)
	}
}

func main() {
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	if len(os.Args) > 1 && os.Args[1] == "check" {
		check(port)
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "reach" {
		reach(os.Args[2:])
		return
	}
	// A slow start.
	if after := os.Getenv("LISTEN_AFTER"); after != "" {
		d, err := time.ParseDuration(after)
		if err != nil {
			log.Fatal(err)
		}
		time.Sleep(d)
	}
	pod, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	s := &server{pod: pod, seen: map[string]int{}}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	ws := &sockets{pod: pod, ending: ctx, after: 3 * time.Second}
	mux := http.NewServeMux()
	mux.HandleFunc("/", s.echo)
	mux.HandleFunc("/events", s.events)
	mux.HandleFunc("/download", s.download)
	mux.HandleFunc("/mirror", s.mirror)
	mux.HandleFunc("/hints", s.hints)
	mux.HandleFunc("/ws", ws.serve)
	mux.HandleFunc("/talk", ws.talk)
	mux.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})

	srv := &http.Server{Addr: ":" + port, Handler: withCalls(mux), Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)

	drained := make(chan struct{})
	go func() {
		defer close(drained)
		<-ctx.Done()
		drain, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_ = srv.Shutdown(drain)
		ws.open.Wait() // they are not the server's any more
	}()
	log.Printf("%s answers on %s", pod, srv.Addr)
	serve := srv.ListenAndServe
	if dir := os.Getenv("TLS_DIR"); dir != "" {
		srv.Protocols.SetHTTP2(true)
		serve = func() error {
			return srv.ListenAndServeTLS(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
		}
	}
	if err := serve(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	<-drained
}
