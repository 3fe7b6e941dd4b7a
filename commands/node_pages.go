package commands

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"walt/api"
	"walt/nodes"
)

// nodesPage is how many nodes are read again at once.
const nodesPage = 200

// pages are nodes about to be shown, each as what is made of it for that. All of
// them take too much memory to wait for a slow client with: then only the names are
// kept, and the nodes are read again when their turn comes. Those that are gone by
// then are left out.
type pages[T any] struct {
	*Call
	out   *bufio.Writer // to the client
	from  func(*nodes.DeviceStatus) T
	made  []T    // of all nodes; nil when the client is slow
	names string // of those that were not shown yet, a line each
}

func newPages[T any](c *Call, found []*nodes.DeviceStatus, from func(*nodes.DeviceStatus) T) *pages[T] {
	p := &pages[T]{Call: c, from: from, made: make([]T, len(found)), names: joinNames(found)}
	for i, n := range found {
		p.made[i] = from(n)
	}
	p.out = bufio.NewWriterSize(p, bufferSize)
	return p
}

// Write writes to the client, and keeps the names alone if that takes long.
func (p *pages[T]) Write(b []byte) (n int, err error) {
	if p.made == nil || p.patience == 0 {
		p.made = nil
		return p.Out.Write(b)
	}
	done := make(chan struct{})
	go func() { // ends when the client took it, or its session ended
		defer close(done)
		n, err = p.Out.Write(b)
	}()
	late := time.NewTimer(p.patience)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
		p.made = nil
		<-done
	}
	return n, err
}

// each calls show for all of them.
func (p *pages[T]) each(ctx context.Context, show func(T) error) error {
	for i := 0; i < len(p.made); i++ {
		_, p.names, _ = strings.Cut(p.names, "\n")
		if err := show(p.made[i]); err != nil {
			return err
		}
	}
	for p.names != "" {
		var names []nodes.Name
		for name := ""; p.names != "" && len(names) < nodesPage; {
			name, p.names, _ = strings.Cut(p.names, "\n")
			names = append(names, nodes.Name(name))
		}
		page, err := p.Lab.Named(ctx, names)
		if err != nil {
			return err
		}
		for i := range page {
			if err := show(p.from(&page[i])); err != nil {
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
	p := newPages(c, found, cells)
	var t table
	t.fit(heading)
	for _, row := range slices.Concat(before, p.made) {
		t.fit(row)
	}
	t.head(p.out, c.fancy(), heading)
	for _, row := range before {
		t.write(p.out, row)
	}
	err := p.each(ctx, func(row []string) error {
		t.write(p.out, row)
		return nil
	})
	if err != nil {
		return err
	}
	return p.out.Flush()
}

// nodesList writes nodes as the list of a JSON document.
func nodesList[T any](ctx context.Context, c *Call, name string, before []T, found []*nodes.DeviceStatus, from func(*nodes.DeviceStatus) T) error {
	p := newPages(c, found, from)
	l := newList(p.out, name)
	for _, v := range before {
		if err := l.add(v); err != nil {
			return err
		}
	}
	if err := p.each(ctx, func(v T) error { return l.add(v) }); err != nil {
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
