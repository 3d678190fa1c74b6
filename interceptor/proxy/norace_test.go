//go:build !race

package proxy

const poolsForget = 0
