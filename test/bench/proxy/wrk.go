package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// load is what wrk saw.
type load struct {
	// requests is a rate, in 1/s, and read too, in bytes/s of answers.
	requests, read float64
	// cpu is what the subject had of the processors for each request.
	cpu time.Duration
}

// wrk asks a subject for a path over so many connections for so many seconds. With an upload, each request has a body of so many
// bytes.
func (b *bench) wrk(ctx context.Context, p *process, connections, seconds int, path string, upload int) (load, error) {
	return b.wrkAt(ctx, p, "http://"+p.address, host(0), connections, seconds, path, upload)
}

// wrkAt is wrk, at one of the subject's addresses and for a host of one's own.
func (b *bench) wrkAt(ctx context.Context, p *process, at, host string, connections, seconds int, path string, upload int) (load, error) {
	// Two threads: with one, wrk's own limit is what is seen of nginx on two processors.
	args := []string{"-t", "2", "-c", strconv.Itoa(connections), "-d", fmt.Sprintf("%ds", seconds), "--timeout", "10s", "-H", "Host: " + host}
	if upload > 0 {
		script := filepath.Join(b.dir, fmt.Sprintf("upload-%d.lua", upload))
		if err := os.WriteFile(script, fmt.Appendf(nil, "wrk.method = \"POST\"\nwrk.body = string.rep(\"x\", %d)\n", upload), 0o600); err != nil {
			return load{}, err
		}
		args = append(args, "-s", script)
	}
	before, err := p.cpu()
	if err != nil {
		return load{}, err
	}
	cmd := command(ctx, "wrk", append(args, at+path)...)
	out, err := cmd.Output()
	if err != nil {
		return load{}, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	after, err := p.cpu()
	if err != nil {
		return load{}, err
	}
	l, requests, err := parseWrk(out)
	if err != nil {
		return load{}, fmt.Errorf("%w in what wrk says:\n%s", err, out)
	}
	l.cpu = (after - before) / time.Duration(requests)
	return l, nil
}

var (
	wrkTotal  = regexp.MustCompile(`(\d+) requests in `)
	wrkRate   = regexp.MustCompile(`Requests/sec: +([\d.]+)`)
	wrkRead   = regexp.MustCompile(`Transfer/sec: +([\d.]+)([KMG]?)B`)
	wrkBroken = regexp.MustCompile(`Socket errors: .*|Non-2xx or 3xx responses: \d+`)
)

// parseWrk reads the summary. That a request failed is an error: what is fast because it refuses is not fast.
func parseWrk(out []byte) (l load, requests int, err error) {
	if broken := wrkBroken.Find(out); broken != nil {
		return l, 0, fmt.Errorf("requests failed (%s)", broken)
	}
	total, rate, read := wrkTotal.FindSubmatch(out), wrkRate.FindSubmatch(out), wrkRead.FindSubmatch(out)
	if total == nil || rate == nil || read == nil {
		return l, 0, fmt.Errorf("no summary")
	}
	if requests, err = strconv.Atoi(string(total[1])); err != nil || requests == 0 {
		return l, 0, fmt.Errorf("no requests")
	}
	if l.requests, err = strconv.ParseFloat(string(rate[1]), 64); err != nil {
		return l, 0, err
	}
	if l.read, err = strconv.ParseFloat(string(read[1]), 64); err != nil {
		return l, 0, err
	}
	if len(read[2]) > 0 {
		l.read *= float64(int(1) << (10 * (1 + bytes.Index([]byte("KMG"), read[2]))))
	}
	return l, requests, nil
}
