package commands

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"walt/api"
	"walt/ethernet"
	"walt/nodes"
)

// A large lab is shown some nodes at a time, whatever the form: none is kept while a
// slow client reads those before, and one that is gone meanwhile is left out.
func TestNodesInPages(t *testing.T) {
	t.Parallel()
	const many = 3*nodesPage + 50
	lab := newTestLab(t)
	lab.app.patience = 0
	add := func(i int) {
		mac, err := ethernet.ParseMAC(fmt.Sprintf("52:54:05:00:%02x:%02x", i>>8, i&0xff))
		lab.must(err)
		_, err = lab.nodes.Register(t.Context(), "alice", nodes.Announcement{Name: nodes.Name(fmt.Sprintf("x%d", i)), MAC: mac, Model: "rpi-3-b"})
		lab.must(err)
	}
	for i := range many {
		add(i)
	}
	last := many - 1
	for _, line := range []string{"node show --all", "node show --all --json", "device show", "device show --json"} {
		s := lab.session("alice", "")
		out := &writes{}
		out.end = func() { // while the first of it is read
			if len(out.all) == 1 {
				lab.ok("alice", fmt.Sprintf("device forget x%d", last))
			}
		}
		s.Out, s.Err = out, out
		if status := lab.app.Run(t.Context(), s, line); status != StatusDone {
			t.Errorf("%s: status %d", line, status)
		}
		longest := slices.MaxFunc(out.all, func(a, b string) int { return len(a) - len(b) })
		if len(longest) > bufferSize {
			t.Errorf("%s: %d bytes were written at once", line, len(longest))
		}
		var shown []string
		text := strings.Join(out.all, "")
		if strings.HasSuffix(line, "--json") {
			var doc struct {
				Nodes   []api.Node
				Devices []api.Device
			}
			lab.must(json.Unmarshal([]byte(text), &doc))
			for _, n := range doc.Nodes {
				shown = append(shown, string(n.Name))
			}
			for _, d := range doc.Devices {
				shown = append(shown, d.Name)
			}
		} else {
			for row := range strings.Lines(text) {
				shown = append(shown, strings.Fields(row)[0])
			}
		}
		shown = slices.DeleteFunc(shown, func(name string) bool { return !strings.HasPrefix(name, "x") })
		for i, name := range shown {
			if name != fmt.Sprintf("x%d", i) {
				t.Fatalf("%s: %s comes as number %d", line, name, i)
			}
		}
		if len(shown) != last {
			t.Errorf("%s: %d of %d nodes are shown", line, len(shown), last)
		}
		add(last)
	}
}

// Once a client is slow, the nodes are not kept any more.
func TestSlowClientOfNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taken := make(chan struct{})
		c := &Call{App: &App{patience: time.Second}, Session: &Session{Out: io.Discard}}
		name := func(n *nodes.DeviceStatus) nodes.Name { return n.Name }
		all := make([]nodes.DeviceStatus, 3)
		for i := range all {
			all[i].Device = &nodes.Device{}
		}
		p := newPages(c, pointers(all), name)
		if _, err := p.Write([]byte("x")); err != nil || p.made == nil {
			t.Error("a client that is not slow")
		}
		c.Out = slowWriter{taken}
		go func() { _, _ = p.Write([]byte("x")) }()
		time.Sleep(c.patience)
		synctest.Wait()
		if p.made != nil {
			t.Error("the nodes are kept for a slow client")
		}
		close(taken)
	})
}

// slowWriter takes what is written when the test says so.
type slowWriter struct{ taken chan struct{} }

func (w slowWriter) Write(p []byte) (int, error) {
	<-w.taken
	return len(p), nil
}

// A row that became wider than its column still stands apart from the next cell.
func TestRowThatDoesNotFit(t *testing.T) {
	t.Parallel()
	var tab table
	tab.fit([]string{"a", "b"})
	var text strings.Builder
	out := bufio.NewWriter(&text)
	tab.write(out, []string{"longer", "b"})
	out.Flush()
	if text.String() != "longer  b\n" {
		t.Errorf("%q", text.String())
	}
}
