package commands

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"walt/fault"
	"walt/images"
	"walt/nodes"
	"walt/state"
)

// The words that the JSON of a node has are those that topic ci tells, all of them, and
// what may be null is so when the topic says.
func TestWordsOfANode(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.nodes.Hosts[nodes.QEMU] = lab.rack
	_, err := lab.nodes.Register(t.Context(), "alice", nodes.Announcement{Name: "vm-1", MAC: "52:54:00:00:02:01", Model: "pc-x86-64", Host: nodes.QEMU})
	lab.must(err)
	const closed, image = "127.0.0.1:1", "waltplatform/pc-x86-64-default:latest"
	present := image + " " + "sha256:" + strings.Repeat("0", 60) + "beef"
	boots := func() {
		_, err := lab.nodes.Boot(t.Context(), "vm-1")
		lab.must(err)
	}
	at := func(s nodes.Step) func() { return func() { lab.nodes.Reached(t.Context(), "vm-1", s) } }
	seen := map[string]map[string]bool{"state": {}, "host": {}, "step": {}}
	for _, c := range []struct {
		node string
		do   func()
		want string // state, host, step, what runs there, reason
	}{
		{"rpi-1", func() {}, "off physical - - -"},
		{"pc-1", func() {}, "booting simulated none - -"},
		{"vm-1", func() {}, "booting qemu none - -"},
		{"vm-1", boots, "booting qemu none - -"},
		{"vm-1", at(nodes.StepAddress), "booting qemu address - -"},
		{"vm-1", at(nodes.StepLoader), "booting qemu loader - -"},
		{"vm-1", at(nodes.StepChained), "booting qemu loader - -"},
		{"vm-1", at(nodes.StepKernel), "booting qemu kernel - -"},
		{"vm-1", at(nodes.StepInitramfs), "booting qemu initramfs - -"},
		{"vm-1", func() { lab.nodes.Stopped("vm-1", closed, nil) }, "booting qemu initramfs - it stopped before its root is mounted, as boot.rescue says"},
		{"vm-1", at(nodes.StepMounting), "booting qemu initramfs - -"},
		{"vm-1", at(nodes.StepRoot), "booting qemu root - -"},
		{"vm-1", func() { lab.nodes.Up("vm-1", closed) }, "up qemu up " + present + " -"},
		{"vm-1", func() { lab.nodes.Ended("vm-1", "it ended", false) }, "up qemu up " + present + " it ended"},
		{"vm-1", func() {
			lab.addImage(images.Image{Ref: images.DefaultRef("pc-x86-64"), Models: []images.Model{"pc-x86-64"}, Digest: "sha256:new"})
		}, "up qemu up " + present + " it ended"},
		{"vm-1", func() { lab.nodes.Failed("vm-1", fault.Failedf("it is broken")) }, "unreachable qemu up - it is broken"},
		{"vm-1", func() { lab.nodes.Down("vm-1", true, "") }, "booting qemu none - rebooted from inside"},
		{"vm-1", func() { boots(); lab.nodes.Down("vm-1", false, "") }, "off qemu - - switched off from inside"},
		{"pc-1", func() {
			_, err := lab.store.Update(t.Context(), func(tx state.Tx) error {
				_, err := lab.nodes.Ports.PowerOff(tx, "52:54:00:00:01:01", true, "")
				return err
			})
			lab.must(err)
		}, "powersave simulated - - -"},
	} {
		c.do()
		n := lab.words(c.node)
		if got := n.String(); got != c.want {
			t.Errorf("%s is %q, want %q", c.node, got, c.want)
		}
		if (n.Step == nil) != (n.State == "off" || n.State == "powersave") || (n.Step == nil) != (n.StepSince == nil) || (n.StateReason == nil) != (n.State != "unreachable") {
			t.Errorf("%s has a null that it should not have, or not the other way round: %+v", c.node, n)
		}
		seen["state"][n.State], seen["host"][n.Host] = true, true
		if n.Step != nil {
			seen["step"][*n.Step] = true
		}
	}
	for field, words := range seen {
		got, want := slices.Sorted(maps.Keys(words)), wordsInTopic(t, field)
		if !slices.Equal(got, want) {
			t.Errorf("%s: a node has %q, and topic ci tells %q", field, got, want)
		}
	}
}

// words is what the JSON of a node says of what it does.
type words struct {
	State, Host  string
	Step, Reason *string
	StateReason  *string    `json:"state_reason"`
	StepSince    *time.Time `json:"step_since"`
	Running      *struct {
		Image  *string
		Digest string
	}
}

func (lab *testLab) words(node string) words {
	lab.t.Helper()
	var doc struct{ Nodes []words }
	lab.must(json.Unmarshal([]byte(lab.ok("bob", "node show "+node+" --json")), &doc))
	if len(doc.Nodes) != 1 {
		lab.t.Fatalf("%s is %d nodes", node, len(doc.Nodes))
	}
	return doc.Nodes[0]
}

func (w words) String() string {
	or := func(s *string) string {
		if s == nil {
			return "-"
		}
		return *s
	}
	runs := "-"
	if w.Running != nil {
		runs = or(w.Running.Image) + " " + w.Running.Digest
	}
	return fmt.Sprint(w.State, " ", w.Host, " ", or(w.Step), " ", runs, " ", or(w.Reason))
}

// wordsInTopic are the words in quotes that topic ci tells a field of a node can have,
// sorted.
func wordsInTopic(t *testing.T, field string) []string {
	t.Helper()
	text, _ := Topic("ci")
	_, text, _ = strings.Cut(text, "\nnode show\n")
	_, text, found := strings.Cut(text, "\n    "+field+" ")
	if !found {
		t.Fatalf("topic ci does not tell of %s", field)
	}
	if next := regexp.MustCompile(`\n {0,4}\S`).FindStringIndex(text); next != nil {
		text = text[:next[0]]
	}
	var all []string
	for _, m := range regexp.MustCompile(`"([a-z]+)"`).FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	slices.Sort(all)
	return all
}
