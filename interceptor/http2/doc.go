// Package http2 is an end of a connection of HTTP/2 (RFC 9113) without the socket: its streams, flow control in both directions, and
// what a peer may not do. Frames are read by golang.org/x/net/http2 and header blocks by its hpack; both ends, a server's and a
// client's, are the same but for who opens streams.
//
// What is to be sent is put together in one buffer, from all streams, and written when those that are ready have had their say.
package http2
