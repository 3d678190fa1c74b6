package main

import "sync"

// buffers are those of the plain ReverseProxy.
type buffers struct{ pool sync.Pool }

type buffer [32 << 10]byte

func (p *buffers) Get() []byte {
	if b, ok := p.pool.Get().(*buffer); ok {
		return b[:]
	}
	return new(buffer)[:]
}

func (p *buffers) Put(b []byte) { p.pool.Put((*buffer)(b)) }
