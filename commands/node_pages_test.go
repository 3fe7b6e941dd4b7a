package commands

import (
	"bufio"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"walt/api"
	"walt/ethernet"
	"walt/nodes"
)

// A large lab is shown some nodes at a time, whatever the form: no more is looked up
// while a client reads what comes before, and one that is gone meanwhile is left out.
func TestNodesInPages(t *testing.T) {
	t.Parallel()
	const many = 650
	lab := newTestLab(t)
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
	for _, line := range []string{
		"node show --all", "node show --all --json", "device show", "device show --json",
		"node config all-nodes", "device config all-devices", "device config all-devices --json",
	} {
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
				api.Settings
			}
			lab.must(json.Unmarshal([]byte(text), &doc))
			for _, n := range doc.Nodes {
				shown = append(shown, string(n.Name))
			}
			for _, d := range doc.Devices {
				shown = append(shown, d.Name)
			}
			for _, s := range doc.Settings.Settings {
				shown = append(shown, s.Name)
			}
		} else {
			for row := range strings.Lines(text) {
				shown = append(shown, strings.Fields(row)[0])
			}
		}
		shown = slices.DeleteFunc(shown, func(name string) bool { return !strings.HasPrefix(name, "x") })
		if strings.Contains(line, " config ") { // which tells several settings of each
			shown = slices.Compact(shown)
		}
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
	s, out := lab.session("alice", ""), &writes{}
	s.Out, s.Err = out, out
	if status := lab.app.Run(t.Context(), s, "device tree"); status != StatusDone || len(out.all) > 3 {
		t.Errorf("device tree: status %d, %d writes", status, len(out.all))
	}
	if text := strings.Join(out.all, ""); strings.Count(text, "├─ x") != last || !strings.HasSuffix(text, fmt.Sprintf("\n└─ x%d (node, off)\n", last)) {
		t.Errorf("device tree: %s", text)
	}
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
