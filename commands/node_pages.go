package commands

import (
	"bufio"
	"iter"

	"walt/api"
	"walt/nodes"
)

// shown is a node that a table shows.
type shown interface {
	// Doing returns its name, its state, and why it is in that.
	Doing() (nodes.Name, nodes.Status)
	// OutOfService returns why it is retired, nil when it is not.
	OutOfService() *nodes.Retired
}

// nodesTable writes nodes as tabled does, and returns what is to be told of them then.
func nodesTable[T shown](c *Call, heading []string, before [][]string, outline, found iter.Seq2[T, error], cells func(row []string, n T) []string) (why troubles, err error) {
	err = tabled(c, heading, before, outline, found, cells, func(n T) { why.add(n) })
	return why, err
}

// tabled writes what was found as a table, below some rows, and calls each with all of it.
// The columns are as wide as the outline, which mostly is the same, needs them to be: what
// appends the cells of a row has to be quick, for it is called for both.
func tabled[T any](c *Call, heading []string, before [][]string, outline, found iter.Seq2[T, error], cells func(row []string, one T) []string, each func(one T)) error {
	t := c.table()
	t.fit(heading)
	for _, row := range before {
		t.fit(row)
	}
	var row []string
	for one, err := range outline {
		if err != nil {
			return err
		}
		row = cells(row[:0], one)
		t.fit(row)
	}
	out := bufio.NewWriterSize(c.Out, bufferSize)
	t.head(out, c.fancy(), heading)
	for _, row := range before {
		t.write(out, row)
	}
	for one, err := range found {
		if err != nil {
			return err
		}
		row = cells(row[:0], one)
		t.write(out, row)
		each(one)
	}
	return out.Flush()
}

// listed writes what was found as the list of a JSON document, after what stands before.
func listed[S, T any](c *Call, name string, before []T, found iter.Seq2[S, error], from func(S) T) error {
	l := newList(bufio.NewWriterSize(c.Out, bufferSize), name)
	for _, v := range before {
		if err := l.add(v); err != nil {
			return err
		}
	}
	for one, err := range found {
		if err != nil {
			return err
		}
		if err := l.add(from(one)); err != nil {
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
