package commands

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"walt/api"
	"walt/nodes"
)

// nodesPage is how many nodes are shown at once.
const nodesPage = 200

// inPages calls show with what each of the nodes is made into. Those of the first
// page are as they were when they were found; later ones as they are when their
// turn comes, since all of them take too much memory to wait for a slow client with:
// the caller keeps none. Those that are gone by then are left out.
func inPages[T any](ctx context.Context, c *Call, found []*nodes.DeviceStatus, from func(*nodes.DeviceStatus) T, show func(T) error) error {
	var first []T
	for _, n := range found[:min(len(found), nodesPage)] {
		first = append(first, from(n))
	}
	rest := joinNames(found[len(first):])
	for _, v := range first {
		if err := show(v); err != nil {
			return err
		}
	}
	for rest != "" {
		var names []nodes.Name
		for name := ""; rest != "" && len(names) < nodesPage; {
			name, rest, _ = strings.Cut(rest, "\n")
			names = append(names, nodes.Name(name))
		}
		page, err := c.Lab.Named(ctx, names)
		if err != nil {
			return err
		}
		for i := range page {
			if err := show(from(&page[i])); err != nil {
				return err
			}
		}
	}
	return nil
}

// joinNames returns the names of nodes in the least memory, a line each.
func joinNames(some []*nodes.DeviceStatus) string {
	var b strings.Builder
	for i, n := range some {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(string(n.Name))
	}
	return b.String()
}

// nodesTable writes nodes as a table, below some rows.
func (c *Call) nodesTable(ctx context.Context, heading []string, before [][]string, found []*nodes.DeviceStatus, cells func(*nodes.DeviceStatus) []string) error {
	var t table
	t.fit(heading)
	for _, row := range before {
		t.fit(row)
	}
	for _, n := range found {
		t.fit(cells(n))
	}
	out := bufio.NewWriterSize(c.Out, bufferSize)
	t.head(out, c.fancy(), heading)
	for _, row := range before {
		t.write(out, row)
	}
	err := inPages(ctx, c, found, cells, func(row []string) error {
		t.write(out, row)
		return nil
	})
	if err != nil {
		return err
	}
	return out.Flush()
}

// nodesList writes nodes as the list of a JSON document.
func nodesList[T any](ctx context.Context, c *Call, name string, before []T, found []*nodes.DeviceStatus, from func(*nodes.DeviceStatus) T) error {
	l := newList(bufio.NewWriterSize(c.Out, bufferSize), name)
	for _, v := range before {
		if err := l.add(v); err != nil {
			return err
		}
	}
	if err := inPages(ctx, c, found, from, func(v T) error { return l.add(v) }); err != nil {
		return err
	}
	return l.end()
}

// nodeNames writes names alone.
func (c *Call) nodeNames(before []api.Device, found []*nodes.DeviceStatus) error {
	names := joinNames(found)
	c.lines(func(w io.Writer) {
		for _, d := range before {
			fmt.Fprintln(w, d.Name)
		}
		if names != "" {
			fmt.Fprintln(w, names)
		}
	})
	return nil
}

// pointers returns nodes as they are shown.
func pointers(all []nodes.DeviceStatus) []*nodes.DeviceStatus {
	some := make([]*nodes.DeviceStatus, len(all))
	for i := range all {
		some[i] = &all[i]
	}
	return some
}
