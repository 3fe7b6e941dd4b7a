package commands

import (
	"bufio"
	"context"
	"iter"

	"walt/api"
	"walt/nodes"
)

// shown is a node that a table shows.
type shown interface {
	// Doing returns its name, its state, and why it is in that.
	Doing() (nodes.Name, nodes.Status)
}

// nodesTable writes nodes as a table, below some rows, and returns what is to be told of
// them then. What appends the cells of a row has to be quick: it is called twice for each
// node, first to find how wide the columns are.
func nodesTable[T shown](c *Call, heading []string, before [][]string, found iter.Seq2[T, error], cells func(row []string, n T) []string) (why troubles, err error) {
	t := table{width: c.width()}
	t.fit(heading)
	for _, row := range before {
		t.fit(row)
	}
	var row []string
	for n, err := range found {
		if err != nil {
			return why, err
		}
		row = cells(row[:0], n)
		t.fit(row)
	}
	out := bufio.NewWriterSize(c.Out, bufferSize)
	t.head(out, c.fancy(), heading)
	for _, row := range before {
		t.write(out, row)
	}
	for n, err := range found {
		if err != nil {
			return why, err
		}
		row = cells(row[:0], n)
		t.write(out, row)
		why.add(n)
	}
	return why, out.Flush()
}

// nodesList writes nodes as the list of a JSON document.
func nodesList[T any](ctx context.Context, c *Call, name string, before []T, found nodes.List, from func(*nodes.DeviceStatus) T) error {
	l := newList(bufio.NewWriterSize(c.Out, bufferSize), name)
	for _, v := range before {
		if err := l.add(v); err != nil {
			return err
		}
	}
	for n, err := range found.Each(ctx) {
		if err != nil {
			return err
		}
		if err := l.add(from(n)); err != nil {
			return err
		}
	}
	return l.end()
}

// nodeNames writes names alone.
func (c *Call) nodeNames(before []api.Device, found nodes.List) error {
	out := bufio.NewWriterSize(c.Out, bufferSize)
	for _, d := range before {
		out.WriteString(d.Name + "\n")
	}
	for name := range found.Names() {
		out.WriteString(string(name))
		if err := out.WriteByte('\n'); err != nil {
			return err
		}
	}
	return out.Flush()
}
