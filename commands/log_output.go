package commands

import (
	"bufio"
	"fmt"
	"time"

	"walt/api"
	"walt/journal"
)

// readerPatience is how long nothing may be taken of what "log show --realtime"
// tells before events are left out.
const readerPatience = 5 * time.Second

// skipped is the type of what stands in the place of events that were left out; it
// is in no journal.
const skipped journal.Type = "skipped"

// eventWriter writes events as lines, as JSON documents one a line, or as one
// JSON document. What is at hand is written before more is waited for.
type eventWriter struct {
	c    *Call
	out  *bufio.Writer
	list *list // of the one document; nil for lines
	some bool
}

func (c *Call) newEventWriter(follow bool) *eventWriter {
	w := &eventWriter{c: c, out: bufio.NewWriterSize(c.Out, bufferSize)}
	if c.on("json") && !follow {
		w.list = newList(w.out, "events")
	}
	return w
}

func (w *eventWriter) none() bool { return !w.some }

// show writes a page of events.
func (w *eventWriter) show(page []journal.Event) error {
	for _, e := range page {
		if err := w.write(e); err != nil {
			return err
		}
	}
	return w.out.Flush()
}

// follow writes events as they come, and how many were left out before.
func (w *eventWriter) follow(page []journal.Event, missed int) error {
	if missed > 0 {
		if err := w.write(w.leftOut(missed)); err != nil {
			return err
		}
	}
	return w.show(page)
}

// leftOut stands in the place of events that were not shown.
func (w *eventWriter) leftOut(missed int) journal.Event {
	return journal.Event{
		Time: w.c.Now().UTC(), Type: skipped, Actor: journal.Server, Count: missed,
		Detail: fmt.Sprintf("%s left out, since the output was not read in time (see: log show)", count(missed, "line")),
	}
}

func (w *eventWriter) write(e journal.Event) error {
	w.some = true
	switch {
	case w.list != nil:
		return w.list.add(api.NewEvent(e))
	case w.c.on("json"):
		return printTo(w.out, api.NewEvent(e))
	}
	_, err := fmt.Fprintln(w.out, line(e))
	return err
}

// end ends the one document.
func (w *eventWriter) end() error {
	if w.list != nil {
		return w.list.end()
	}
	return nil
}
