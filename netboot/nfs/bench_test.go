package nfs

import (
	"bytes"
	"testing"

	"walt/images/imagetest"
)

// One client that asks for attributes, one call after the other.
func BenchmarkGetattr(b *testing.B) {
	c, root := served(b, imagetest.Regular("f", "hello"))
	for b.Loop() {
		c.getattr(root)
	}
}

func BenchmarkRead(b *testing.B) {
	c, root := served(b, imagetest.Regular("f", string(bytes.Repeat([]byte("x"), 64<<20))))
	f, _ := c.lookup(root, "f")
	b.SetBytes(readLimit)
	for i := 0; b.Loop(); i++ {
		c.read(f, uint64(i)*readLimit%(64<<20), readLimit)
	}
}
