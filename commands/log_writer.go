package commands

import (
	"bufio"
	"io"
)

// logWriter writes what a log has, page by page: as lines, as JSON documents one a line, or
// as one JSON document. What is at hand is written before more is waited for.
type logWriter[T any] struct {
	c        *Call
	out      *bufio.Writer
	list     *list          // of the one document; nil for lines
	text     func(T) string // with its newline
	document func(T) any
	some     bool
}

// newLogWriter is one whose one document, if nothing is followed, has a list of this name.
func newLogWriter[T any](c *Call, name string, follow bool, text func(T) string, document func(T) any) *logWriter[T] {
	w := &logWriter[T]{c: c, out: bufio.NewWriterSize(c.Out, bufferSize), text: text, document: document}
	if c.on("json") && !follow {
		w.list = newList(w.out, name)
	}
	return w
}

// none reports whether nothing was written.
func (w *logWriter[T]) none() bool { return !w.some }

func (w *logWriter[T]) show(page []T) error {
	for _, v := range page {
		if err := w.write(v); err != nil {
			return err
		}
	}
	return w.out.Flush()
}

func (w *logWriter[T]) write(v T) (err error) {
	w.some = true
	switch {
	case w.list != nil:
		return w.list.add(w.document(v))
	case w.c.on("json"):
		return printTo(w.out, w.document(v))
	}
	_, err = io.WriteString(w.out, w.text(v))
	return err
}

// end ends the one document.
func (w *logWriter[T]) end() error {
	if w.list != nil {
		return w.list.end()
	}
	return nil
}
