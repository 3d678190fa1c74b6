package proxy

import "sync"

// block is what heads and the beginnings of bodies are read into: larger than nearly all heads, and as large as what a small
// write may be.
type block [16 << 10]byte

var blocks = sync.Pool{New: func() any { return new(block) }}

// input is what was read of a connection and not used yet. It has memory only while it has bytes or somebody reads.
type input struct {
	b     []byte
	block *block
}

// room returns where to read to, at least one byte.
func (i *input) room() []byte {
	switch {
	case i.b == nil:
		i.block = blocks.Get().(*block)
		i.b = i.block[:0]
	case len(i.b) == cap(i.b):
		more := append(make([]byte, 0, 2*cap(i.b)), i.b...)
		i.free()
		i.b = more
	}
	return i.b[len(i.b):cap(i.b)]
}

// drop takes the first n bytes away.
func (i *input) drop(n int) {
	if n == len(i.b) {
		i.free()
		return
	}
	i.b = i.b[:copy(i.b, i.b[n:])]
}

// free takes all bytes away, and the memory.
func (i *input) free() {
	if i.block != nil {
		blocks.Put(i.block)
	}
	i.b, i.block = nil, nil
}

// shrink puts the bytes into memory of just their size, for as long as they have to wait.
func (i *input) shrink() {
	if i.block != nil {
		b := append(make([]byte, 0, len(i.b)), i.b...)
		i.free()
		i.b = b
	}
}
