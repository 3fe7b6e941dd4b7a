//go:build linux

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestCut cuts the power of a disk: what was flushed is there, each block of what was
// written afterwards is there or not, and none is both.
func TestCut(t *testing.T) {
	t.Parallel()
	const blocks = 64
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, blocks*block), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := openDisk(path)
	if err != nil {
		t.Fatal(err)
	}
	do := func(kind uint16, data []byte, offset int64) {
		t.Helper()
		if failed, err := d.do(kind, data, offset); failed != 0 || err != nil {
			t.Fatal(failed, err)
		}
	}
	flushed := bytes.Repeat([]byte("f"), (blocks-1)*block)
	do(cmdWrite, flushed, 512)
	do(cmdFlush, nil, 0)
	do(cmdWrite, bytes.Repeat([]byte("w"), blocks*block), 0)
	read := make([]byte, blocks*block)
	do(cmdRead, read, 0)
	if bytes.Count(read, []byte("w")) != len(read) {
		t.Error("what was written is not read")
	}
	if err := d.cut(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.do(cmdFlush, nil, 0); err != errOff {
		t.Errorf("after the cut: %v", err)
	}
	left, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	written := 0
	for at := 0; at < len(left); at += block {
		switch b := left[at : at+block]; {
		case bytes.Count(b, []byte("w")) == block:
			written++
		case !bytes.Contains(b, []byte("f")) || bytes.Contains(b, []byte("w")):
			t.Errorf("block %d is %.20q", at/block, b)
		}
	}
	if written == 0 || written == blocks {
		t.Errorf("%d of %d blocks that were not flushed are there", written, blocks)
	}
}
