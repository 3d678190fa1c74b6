package proxy

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"time"
)

// mostProbeBody is how much of a probe's answer is read; the kubelet reads as much.
const mostProbeBody = 10 << 10

// Probes is how pods are asked by HTTP/1.1 whether they are ready.
func (t Transports) Probes() http.RoundTripper { return t.links }

// RoundTrip implements http.RoundTripper for probes: the connection of the last one to a pod is the first link to it.
func (ls *links) RoundTrip(r *http.Request) (*http.Response, error) {
	l, err := ls.dial(r.Context(), r.URL.Host)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(r.Context(), l.interrupt)
	res, body, reusable, err := probe(l, r)
	if stop() && reusable {
		ls.keep(r.URL.Host, l)
	} else {
		l.close()
	}
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, nil
}

func probe(l *link, r *http.Request) (res *http.Response, body []byte, reusable bool, err error) {
	if err := r.Write(l.conn); err != nil {
		return nil, nil, false, err
	}
	in := bufio.NewReader(l.conn)
	if res, err = http.ReadResponse(in, r); err != nil {
		return nil, nil, false, err
	}
	defer res.Body.Close() //nolint:errcheck // only read
	body, err = io.ReadAll(io.LimitReader(res.Body, mostProbeBody+1))
	if len(body) > mostProbeBody {
		return res, body[:mostProbeBody], false, nil
	}
	l.heard = true
	return res, body, err == nil && !res.Close && in.Buffered() == 0, err
}

// keep puts a link to an address away whose pod is not ready yet.
func (ls *links) keep(address string, l *link) {
	ls.mu.Lock()
	l.since = time.Now()
	before := ls.spare[address]
	if ls.spare == nil {
		ls.spare = map[string]*link{}
	}
	ls.spare[address] = l
	ls.mu.Unlock()
	if before != nil {
		before.close()
	}
}

// kept takes the link to an address that was put away, if it can still be used.
func (ls *links) kept(address string) *link {
	ls.mu.Lock()
	l := ls.spare[address]
	delete(ls.spare, address)
	ls.mu.Unlock()
	if l != nil && !l.silent() {
		l.close()
		return nil
	}
	return l
}
