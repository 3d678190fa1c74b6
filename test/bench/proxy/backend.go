package main

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// mostBody is the largest body that the backend sends.
const mostBody = 10 << 20

// runBackend is the app: it reads a request's body to the end, and answers GET /N with N bytes. It does as little as can be, so
// that there is something left of the machine for what is measured.
func runBackend([]string) error {
	l, err := listen()
	if err != nil {
		return err
	}
	body := make([]byte, mostBody)
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close() //nolint:errcheck // the other end has left, or is told so
			answerAll(conn, body)
		}()
	}
}

func answerAll(conn net.Conn, body []byte) {
	r := bufio.NewReaderSize(conn, 8<<10)
	var out []byte
	for {
		h, err := readHead(r)
		if err != nil || skipBody(r, h) != nil {
			return
		}
		size, err := strconv.Atoi(strings.TrimPrefix(h.target, "/"))
		if err != nil || size > len(body) {
			fmt.Fprint(conn, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n") //nolint:errcheck // it ends anyway
			return
		}
		out = append(out[:0], "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: "...)
		out = strconv.AppendInt(out, int64(size), 10)
		out = append(out, "\r\n\r\n"...)
		if size <= 16<<10 {
			out = append(out, body[:size]...)
			if _, err := conn.Write(out); err != nil {
				return
			}
			continue
		}
		if _, err := (&net.Buffers{out, body[:size]}).WriteTo(conn); err != nil {
			return
		}
	}
}

// runReverseProxy is what the standard library has, with the settings that make it fast.
func runReverseProxy(args []string) error {
	l, err := listen()
	if err != nil {
		return err
	}
	target := &url.URL{Scheme: "http", Host: args[0]}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		Transport: &http.Transport{
			DisableCompression: true, MaxIdleConnsPerHost: 1024, IdleConnTimeout: time.Minute,
			ReadBufferSize: 8 << 10, WriteBufferSize: 8 << 10,
		},
		BufferPool: &buffers{},
		ErrorLog:   log.New(io.Discard, "", 0), // at the end of each measurement clients leave
	}
	s := &http.Server{Handler: proxy, ReadHeaderTimeout: 30 * time.Second, Protocols: new(http.Protocols), HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 1000}}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	return s.Serve(l)
}

// listen takes a free port and says which, for whoever started this process.
func listen() (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		fmt.Println(l.Addr())
	}
	return l, err
}
