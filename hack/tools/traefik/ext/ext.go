// Package ext is where those who build Traefik may add to its configuration. Traefik's own, which adds nothing, is not published.
package ext

// HTTP adds nothing to the HTTP configuration.
type HTTP struct{}

// Router adds nothing to a router.
type Router struct{}
