// Package http1 reads and writes the heads of HTTP/1.1 messages in place and finds where their bodies end (RFC 9112).
//
// It does not allocate: what it has read are parts of the buffer that it was given. It is strict where a lenient reader and
// another lenient one could disagree on where a request ends: such requests are refused, not mended.
package http1
