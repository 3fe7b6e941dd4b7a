package commands

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"walt/ethernet"
	"walt/images"
	"walt/nodes"
)

func TestBar(t *testing.T) {
	t.Parallel()
	half := images.Progress{Done: 3 << 19, Total: 3 << 20}
	const want = "lab:ann/tool  [##########..........]  50 %  1.5 MiB of 3.0 MiB  768 KiB/s  2s left"
	if got := bar("lab:ann/tool", half, 2*time.Second, 0); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for width, want := range map[int]string{
		len(want) + 3: want,
		len(want) + 2: "lab:ann/tool  [##########..........]  50 %  1.5 MiB of 3.0 MiB  2s left",
		70:            "lab:ann/tool  [#####.....]  50 %  1.5 MiB of 3.0 MiB  2s left",
		60:            "lab:ann/tool  [##...]  50 %  1.5 MiB of 3.0 MiB  2s left",
		40:            "lab:ann/tool  [##...]  50 %  1.5 MiB ",
		2:             "",
	} {
		if got := bar("lab:ann/tool", half, 2*time.Second, width); got != want {
			t.Errorf("in %d columns: %q", width, got)
		}
	}
	for _, p := range []images.Progress{{Total: 1}, {Done: 1, Total: 1}} { // no time has passed
		if got := bar("x", p, 0, 0); strings.Contains(got, "NaN") || strings.Contains(got, "Inf") {
			t.Errorf("%+v: %q", p, got)
		}
	}
}

// A bar on a terminal is drawn at most so often and wiped at the end; without
// one each layer is a line.
func TestProgress(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	layer := images.Progress{Layer: "sha256:" + strings.Repeat("a", 64), Done: 2048, Total: 2048, Finished: true}
	show := func(s *Session) string {
		var errs bytes.Buffer
		s.Err = &errs
		c := &Call{App: lab.app, Session: s}
		report, end := c.progress("lab:ann/tool")
		for n := range 10 {
			lab.pass(30 * time.Millisecond)
			report(images.Progress{Done: int64(n) << 10, Total: 10 << 10})
		}
		report(layer)
		report(images.Progress{Done: 10 << 10, Total: 10 << 10, Finished: true})
		end()
		return errs.String()
	}
	if got, want := show(lab.session("bob", "")), "lab:ann/tool: sha256:aaaaaaaaaaaa done, 2.0 KiB\n"; got != want {
		t.Errorf("without a terminal: %q", got)
	}
	got := show(lab.terminal("bob"))
	if n := strings.Count(got, "\r\x1b[Klab:ann/tool"); n != 4 {
		t.Errorf("the bar was drawn %d times, want 4: %q", n, got)
	}
	if !strings.Contains(got, "100 %") || !strings.HasSuffix(got, "\r\x1b[K") {
		t.Errorf("at the end: %q", got)
	}
}

// What is done to many nodes shows how far it is: on a terminal in a line that changes and is
// wiped in the end, without one in a line now and then.
func TestCounting(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	show := func(s *Session, nodes int, each time.Duration) string {
		var errs bytes.Buffer
		s.Err = &errs
		c := &Call{App: lab.app, Session: s, pending: newPending()}
		count, end := c.counting()
		for n := range nodes {
			lab.pass(each)
			count(n + 1)
		}
		end()
		return errs.String()
	}
	for _, s := range []*Session{lab.session("bob", ""), lab.terminal("bob")} {
		if got := show(s, manyLines, time.Hour); got != "" {
			t.Errorf("nodes that have lines of their own are counted, too: %q", got)
		}
	}
	want := "Done with 21 nodes so far.\nDone with 31 nodes so far.\n"
	if got := show(lab.session("bob", ""), 40, time.Second); got != want {
		t.Errorf("without a terminal: %q", got)
	}
	want = "\r\x1b[KDone with 21 nodes so far ...\r\x1b[KDone with 25 nodes so far ...\r\x1b[K"
	if got := show(lab.terminal("bob"), 28, barEvery/4); got != want {
		t.Errorf("on a terminal: %q", got)
	}
}

func TestCountingOfReboots(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	for n := range manyLines + 1 {
		_, err := lab.nodes.Register(t.Context(), "alice", nodes.Announcement{
			Name: nodes.Name(fmt.Sprintf("many-%d", n)), MAC: ethernet.MAC(fmt.Sprintf("52:54:00:00:02:%02x", n)), Model: "pc-x86-64", Host: nodes.Simulated,
		})
		lab.must(err)
	}
	lab.rack.takes = func() { lab.pass(time.Second) }
	got := lab.run("bob", "node reboot many-*", "")
	if got.stderr != "Done with 21 nodes so far.\n" || !strings.HasSuffix(got.stdout, "1 other is rebooting\n") {
		t.Errorf("%+v", got)
	}
}
