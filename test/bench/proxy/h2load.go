package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
)

// h2load asks a subject for a path over eight connections with so many requests at a time on each, for as long as a measurement
// takes, and returns the rate. With a message, each request is a unary call of gRPC with that message.
func (b *bench) h2load(ctx context.Context, address, host, path string, streams int, message []byte) (float64, error) {
	return b.h2loadURL(ctx, address, "http://"+host+path, streams, message)
}

func (b *bench) h2loadURL(ctx context.Context, address, url string, streams int, message []byte) (float64, error) {
	args := []string{
		"-t", "2", "-c", "8", "-m", strconv.Itoa(streams), "-D", strconv.Itoa(b.seconds),
		"--connect-to=" + address,
	}
	if message != nil {
		data := filepath.Join(b.dir, "message")
		if err := os.WriteFile(data, message, 0o600); err != nil {
			return 0, err
		}
		args = append(args, "-d", data, "-H", "Content-Type: application/grpc", "-H", "TE: trailers")
	}
	out, err := command(ctx, "h2load", append(args, url)...).Output()
	if err != nil {
		return 0, fmt.Errorf("h2load: %w\n%s", err, out)
	}
	rate, err := parseH2load(out)
	if err != nil {
		return 0, fmt.Errorf("%w in what h2load says:\n%s", err, out)
	}
	return rate, nil
}

var (
	h2loadRate   = regexp.MustCompile(`finished in \S+ ([\d.]+) req/s`)
	h2loadCounts = regexp.MustCompile(`(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout`)
	h2loadCodes  = regexp.MustCompile(`status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx`)
)

// parseH2load reads the summary. That a request failed is an error.
func parseH2load(out []byte) (float64, error) {
	rate, counts := h2loadRate.FindSubmatch(out), h2loadCounts.FindSubmatch(out)
	if rate == nil || counts == nil {
		return 0, fmt.Errorf("no summary")
	}
	if string(counts[1]) == "0" || string(counts[2]) != "0" || string(counts[3]) != "0" || string(counts[4]) != "0" || !h2loadCodes.Match(out) {
		return 0, fmt.Errorf("requests failed (%s)", counts[0])
	}
	return strconv.ParseFloat(string(rate[1]), 64)
}
