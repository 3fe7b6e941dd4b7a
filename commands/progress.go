package commands

import (
	"fmt"
	"strings"
	"time"

	"walt/images"
)

// progress shows how a transfer goes, until end is called: a bar on a terminal,
// a line for each finished layer without one.
func (c *Call) progress(what string) (report func(images.Progress), end func()) {
	if !c.fancy() {
		return func(p images.Progress) {
			if p.Note != "" {
				c.note("%s", p.Note)
			} else if p.Layer != "" {
				c.note("%s: %s done, %s", what, shortDigest(p.Layer), size(p.Total))
			}
		}, func() {}
	}
	began := c.Now()
	var last time.Time
	return func(p images.Progress) {
			if p.Note != "" {
				fmt.Fprint(c.Err, "\r\x1b[K")
				c.note("%s", p.Note)
				return
			}
			now := c.Now()
			if p.Layer != "" || p.Total == 0 || now.Sub(last) < barEvery && !p.Finished {
				return
			}
			last = now
			width, _ := c.Terminal.Size()
			fmt.Fprintf(c.Err, "\r\x1b[K%s", bar(what, p, now.Sub(began), width))
		}, func() {
			if !last.IsZero() {
				fmt.Fprint(c.Err, "\r\x1b[K")
			}
		}
}

// barEvery is how often a bar is drawn at most.
const barEvery = 100 * time.Millisecond

// bar is a line that leaves room for "^C" in the width, as in
// "lab:ann/tool  [#####.....]  50 %  1.5 MiB of 3.0 MiB  1.5 MiB/s  1s left".
// What does not fit is the rate, then most of the bar, then the end of the line.
func bar(what string, p images.Progress, elapsed time.Duration, width int) string {
	rate := float64(p.Done) / max(elapsed.Seconds(), 0.001)
	left := "-"
	if rate > 0 {
		left = (time.Duration(float64(p.Total-p.Done)/rate) * time.Second).String()
	}
	const room = len("^C") + 1
	draw := func(cells int64, rate string) string {
		full := p.Done * cells / p.Total
		return fmt.Sprintf("%s  [%s%s] %3d %%  %s of %s  %s%s left", clean(what), strings.Repeat("#", int(full)), strings.Repeat(".", int(cells-full)),
			p.Done*100/p.Total, size(p.Done), size(p.Total), rate, left)
	}
	line := draw(20, size(int64(rate))+"/s  ")
	for _, cells := range []int64{20, 10, 5} {
		if width > 0 && len(line)+room > width {
			line = draw(cells, "")
		}
	}
	if width > 0 && len(line)+room > width {
		line = line[:max(width-room, 0)]
	}
	return line
}
