package http2

import (
	"strconv"
	"sync"

	"golang.org/x/net/http2/hpack"
)

// Block is a header block that is being made. It refers to no other one, so that any connection can have it at any time.
type Block struct {
	b   []byte
	enc *hpack.Encoder
	// name is one in lower case.
	name []byte
}

var blocks = sync.Pool{New: func() any {
	b := &Block{}
	b.enc = hpack.NewEncoder(b)
	b.enc.SetMaxDynamicTableSizeLimit(0)
	b.Field("", "") // after which the encoder says no more of its table's size
	return b
}}

// NewBlock makes an empty block.
func NewBlock() *Block {
	b := blocks.Get().(*Block)
	b.b = b.b[:0]
	return b
}

// Free leaves the memory to others.
func (b *Block) Free() {
	if cap(b.b) <= 16<<10 {
		blocks.Put(b)
	}
}

// Write implements io.Writer, for the encoder.
func (b *Block) Write(p []byte) (int, error) {
	b.b = append(b.b, p...)
	return len(p), nil
}

// Field appends a field. Its name has to be in lower case.
func (b *Block) Field(name, value string) {
	_ = b.enc.WriteField(hpack.HeaderField{Name: name, Value: value}) // it keeps nothing and does not fail
}

// Fold appends a field whose name may be in any case.
func (b *Block) Fold(name, value []byte) {
	if lower(text(name)) {
		b.Field(text(name), text(value))
		return
	}
	b.name = append(b.name[:0], name...)
	for i, c := range b.name {
		if 'A' <= c && c <= 'Z' {
			b.name[i] = c + 'a' - 'A'
		}
	}
	b.Field(text(b.name), text(value))
}

// Status appends the status of a response.
func (b *Block) Status(code int) {
	if code == 200 {
		b.Field(":status", "200")
		return
	}
	b.Field(":status", strconv.Itoa(code))
}

// Bytes are the block. They are good until it is freed.
func (b *Block) Bytes() []byte { return b.b }
