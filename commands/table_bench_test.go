package commands

import (
	"bufio"
	"io"
	"testing"
	"time"
	"unique"

	"walt/images"
	"walt/nodes"
)

// BenchmarkNodeRow makes room for the row of a node in a table, and writes it.
func BenchmarkNodeRow(b *testing.B) {
	c := &Call{Session: &Session{User: "alice"}}
	n := &nodes.Glance{
		Name:   "node-12345",
		Traits: unique.Make(nodes.Traits{Kind: nodes.Node, Model: "rpi-3-b", Image: images.DefaultRef("rpi-3-b")}),
		Since:  noon.Add(-time.Hour), State: nodes.Off,
	}
	var t table
	var row []string
	out, cells := bufio.NewWriterSize(io.Discard, bufferSize), c.nodeCells(noon)
	b.ReportAllocs()
	for b.Loop() {
		row = cells(row[:0], n)
		t.fit(row)
		row = cells(row[:0], n)
		t.write(out, row)
	}
}
