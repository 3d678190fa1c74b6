package main

import (
	"bufio"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMessagesAreReadToTheirEnd(t *testing.T) {
	for name, message := range map[string]string{
		"without a body":     "GET /64 HTTP/1.1\r\nHost: a\r\n\r\n",
		"with a length":      "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
		"chunked":            "POST /64 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"chunked, a trailer": "POST /64 HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := bufio.NewReader(strings.NewReader(message + "GET /next HTTP/1.1\r\n\r\n"))
			h, err := readHead(r)
			require.NoError(t, err)
			require.NoError(t, skipBody(r, h))
			next, err := readHead(r)
			require.NoError(t, err)
			require.Equal(t, "/next", next.target)
		})
	}
}

func TestTheSecondWordOfAResponseIsItsStatus(t *testing.T) {
	h, err := readHead(bufio.NewReader(strings.NewReader("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")))
	require.NoError(t, err)
	require.Equal(t, head{target: "404"}, h)
}
