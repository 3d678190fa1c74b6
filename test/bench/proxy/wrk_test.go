package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const wrkSays = `Running 2s test @ http://127.0.0.1:40001/64
  2 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     0.95ms    1.02ms  20.11ms   90.01%
    Req/Sec    18.61k     1.11k   20.80k    70.00%
  74102 requests in 2.00s, 9.82MB read
Requests/sec:  37011.25
Transfer/sec:      4.50MB
`

func TestTheSummaryOfWrkIsRead(t *testing.T) {
	l, requests, err := parseWrk([]byte(wrkSays))
	require.NoError(t, err)
	require.Equal(t, 74102, requests)
	require.Equal(t, load{requests: 37011.25, read: 4.5 * (1 << 20)}, l)
}

func TestFailedRequestsAreNoResult(t *testing.T) {
	for _, line := range []string{
		"  Socket errors: connect 0, read 12, write 0, timeout 0\n",
		"  Non-2xx or 3xx responses: 7\n",
	} {
		_, _, err := parseWrk([]byte(wrkSays + line))
		require.ErrorContains(t, err, "requests failed")
	}
	_, _, err := parseWrk([]byte("unable to connect"))
	require.ErrorContains(t, err, "no summary")
}
