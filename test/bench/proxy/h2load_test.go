package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const h2loadSays = `starting benchmark...
spawning thread #0: 4 total client(s). Timing-based test with 0s of warm-up time and 2s of main duration for measurements.
Application protocol: h2c

finished in 2.00s, 35012.50 req/s, 3.21MB/s
requests: 70025 total, 70281 started, 70025 done, 70025 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 70025 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 6.42MB (6731250) total, 1.20MB (1258291) headers (space savings 80.00%), 4.27MB (4481600) data
`

func TestTheSummaryOfH2loadIsRead(t *testing.T) {
	rate, err := parseH2load([]byte(h2loadSays))
	require.NoError(t, err)
	require.Equal(t, 35012.5, rate)

	for _, broken := range []string{
		strings.Replace(h2loadSays, "0 failed", "3 failed", 1),
		strings.Replace(h2loadSays, "70025 2xx, 0 3xx, 0 4xx", "70022 2xx, 0 3xx, 3 4xx", 1),
		strings.Replace(h2loadSays, "70025 succeeded", "0 succeeded", 1),
	} {
		_, err := parseH2load([]byte(broken))
		require.ErrorContains(t, err, "requests failed")
	}
}
