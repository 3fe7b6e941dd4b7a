// Package imagetest makes what the tests of images are about: layers and images,
// and registries and docker daemons to get them from. It is no part of the server.
package imagetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"maps"
	"testing"
	"time"
)

// Created is when all that is made here was made.
var Created = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

// Regular is a file with content.
func Regular(name, content string) *tar.Header {
	return &tar.Header{
		Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content)), ModTime: Created,
		PAXRecords: map[string]string{contentRecord: content},
	}
}

// contentRecord is where headers keep what goes behind them.
const contentRecord = "TEST.content"

// CanPing is the attribute security.capability of a program that may send what it
// likes: cap_net_raw=ep.
const CanPing = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// Capable gives a file an attribute security.capability.
func Capable(h *tar.Header, capability string) *tar.Header {
	h.PAXRecords["SCHILY.xattr.security.capability"] = capability
	return h
}

// Directory is a directory.
func Directory(name string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, ModTime: Created}
}

// Symlink is a symbolic link.
func Symlink(name, target string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777, ModTime: Created}
}

// Hardlink is another name of a file.
func Hardlink(name, target string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, ModTime: Created}
}

// Archive makes a tar archive of entries.
func Archive(t testing.TB, entries ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := *e
		content := h.PAXRecords[contentRecord]
		h.PAXRecords = maps.Clone(h.PAXRecords)
		delete(h.PAXRecords, contentRecord)
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Gzip compresses.
func Gzip(t testing.TB, b []byte) []byte {
	t.Helper()
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return z.Bytes()
}
