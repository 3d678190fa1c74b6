package proxy

import "sync"

// block is what heads and the beginnings of bodies are read into: larger than nearly all heads, and as large as what a small
// write may be.
type block [16 << 10]byte

var blocks = sync.Pool{New: func() any { return new(block) }}

// wait is what is waited with for the head of a request where it cannot be waited without any: on connections with TLS.
type wait [2 << 10]byte

var waits = sync.Pool{New: func() any { return new(wait) }}

// input is what was read of a connection and not used yet. It has memory only while it has bytes or somebody reads.
type input struct {
	b     []byte
	block *block
	wait  *wait
	bulk  *bulk
	// much says that much is to come: it is read in larger parts.
	much bool
}

// await has the next bytes read into as little memory as most heads need.
func (i *input) await() {
	if i.b == nil {
		i.wait = waits.Get().(*wait)
		i.b = i.wait[:0]
	}
}

// room returns where to read to, at least one byte.
func (i *input) room() []byte {
	switch {
	case i.b == nil && i.much:
		i.bulk = bulks.Get().(*bulk)
		i.b = i.bulk[:0]
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
	if i.wait != nil {
		waits.Put(i.wait)
	}
	if i.bulk != nil {
		bulks.Put(i.bulk)
	}
	i.b, i.block, i.wait, i.bulk = nil, nil, nil, nil
}

// shrink puts the bytes into memory of just their size, for as long as they have to wait.
func (i *input) shrink() {
	if i.block != nil {
		b := append(make([]byte, 0, len(i.b)), i.b...)
		i.free()
		i.b = b
	}
}

// readFrom copies what was read of a socket, of which the first bytes were copied before, and waits for more if that is all.
func (i *input) readFrom(s *socket, copied *int, p []byte) (int, error) {
	if *copied == len(i.b) {
		i.free()
		*copied = 0
		if s.tls != nil {
			i.await()
		}
		if err := s.fill(i); err != nil {
			return 0, err
		}
	}
	n := copy(p, i.b[*copied:])
	*copied += n
	return n, nil
}
