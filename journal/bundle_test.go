package journal

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"walt/state"
)

// TestRoomOfBundle has a bundle say that it fits where it does.
func TestRoomOfBundle(t *testing.T) {
	j := newJournal(t)
	j.write(t, func(b *Bundle) { b.Record(Event{Type: Boot, Actor: "bob", Node: "n-1"}) }) // the journal knows its end
	name := strings.Repeat("n", 63)
	for _, n := range []int{1, 2, 8, 9, eachEvent, eachEvent + 1} {
		var b Bundle
		for i := range n {
			b.Record(Event{Type: Ownership, Actor: "bob", Node: name, From: "alice", To: "bob", Detail: "<\"&\x01>"})
			b.Record(Event{Type: Boot, Actor: "bob", Node: "n", To: "bob/x"})
			b.Tell([]string{"alice", "carol"}[i%2], name, Notice{One: "bob took your \"node\" %s", Several: "bob took %s"})
		}
		_, err := j.store.Update(t.Context(), func(tx state.Tx) error {
			before := tx.Room()
			if err := j.Write(tx, b); err != nil {
				return err
			}
			took, after := state.Limit{}, tx.Room()
			took.Rows, took.Bytes = before.Rows-after.Rows, before.Bytes-after.Bytes
			if !b.Fits(before) || b.Fits(state.Limit{Rows: took.Rows - 1, Bytes: before.Bytes}) || b.Fits(state.Limit{Rows: before.Rows, Bytes: took.Bytes - 1}) {
				t.Errorf("of %d nodes: it takes %+v, and says %d rows and %d bytes", n, took, b.rows, b.bytes)
			}
			if spare := b.bytes - took.Bytes; spare > 10_000 {
				t.Errorf("of %d nodes: %d bytes more than it takes", n, spare)
			}
			return nil
		})
		ok(t, err)
	}
}

// write writes what f puts into a bundle.
func (j *Journal) write(t testing.TB, f func(*Bundle)) {
	t.Helper()
	_, err := j.store.Update(t.Context(), func(tx state.Tx) error {
		var b Bundle
		f(&b)
		return j.Write(tx, b)
	})
	ok(t, err)
}

// TestBundle gathers events and notices: those that differ in nothing but the node
// become one.
func TestBundle(t *testing.T) {
	j := newJournal(t)
	j.write(t, func(b *Bundle) {
		for i := range 12 {
			n := fmt.Sprintf("n-%d", i)
			b.Record(Event{Type: Ownership, Actor: "bob", Node: n, From: []string{"", "alice"}[i%2], To: "bob"})
			if i%2 == 1 {
				b.Tell("alice", n, Notice{One: "bob took your node %s", Several: "bob took %s", Then: "; see: node show %s"})
			}
		}
		b.Record(Event{Type: Boot, Actor: "bob", Node: "n-1", To: "bob"})
		taken, rebooted := Notice{One: "bob took your node %s", Several: "bob took %s", Then: "; see: node show %s"}, Notice{One: "bob rebooted your node %s"}
		for _, n := range []string{"n-8", "n-9"} {
			b.Tell("carol", n, taken)
			b.Tell("carol", n, rebooted)
			b.Untell("carol", n, rebooted)
		}
		b.Untell("carol", "n-8", taken)
	})
	var got []Event
	ok(t, j.History(t.Context(), At(time.Time{}), Mark{key: forever}, nil, Each(func(e Event) error { got = append(got, e); return nil })))
	if len(got) != 3 {
		t.Fatalf("%d events: %+v", len(got), got)
	}
	want(t, "those that were free", got[0].About(), "n-0", "n-2", "n-4", "n-6", "n-8", "n-10")
	want(t, "those of alice", got[1].About(), "n-1", "n-3", "n-5", "n-7", "n-9", "n-11")
	if one := got[2]; one.Node != "n-1" || one.Nodes != nil || got[0].Node != "" {
		t.Errorf("an event about one node is %+v, one about several %+v", one, got[0])
	}
	some, is := got[1].Of(func(n string) bool { return n == "n-3" })
	if !is || some.Node != "n-3" || some.From != "alice" {
		t.Errorf("of n-3 it says %+v, %v", some, is)
	}
	if _, is := got[1].Of(func(n string) bool { return n == "n-2" }); is {
		t.Error("it says something of a node that it does not name")
	}
	for user, text := range map[string]string{
		"alice": "bob took 6 of your nodes: n-1, n-3, n-5, n-7, n-9, n-11; see: node show n-1,n-3,n-5,n-7,n-9,n-11", "carol": "bob took your node n-9",
	} {
		notices, err := j.Unseen(t.Context(), user)
		ok(t, err)
		want(t, user, notices, text)
	}
}

// TestLargeEvents reads events about many nodes: all of them, few at a time, the last
// ones too, and as many nodes are kept as there would be events about one.
func TestLargeEvents(t *testing.T) {
	j := newJournal(t)
	const each, several = eachEvent + 5, 7
	for i := range several {
		j.write(t, func(b *Bundle) {
			for n := range each {
				b.Record(Event{Type: Boot, Node: fmt.Sprintf("n-%d", n), Detail: fmt.Sprint(i)})
			}
		})
	}
	read := func(from Mark) (details []string, nodes, most int) {
		ok(t, j.History(t.Context(), from, Mark{key: forever}, nil, func(page []Event) error {
			held := 0
			for _, e := range page {
				details, held = append(details, e.Detail), held+len(e.About())
			}
			nodes, most = nodes+held, max(most, held)
			return nil
		}))
		return details, nodes, most
	}
	details, nodes, most := read(At(time.Time{}))
	if len(details) != 2*several || nodes != each*several || most >= historyNodes+eachEvent {
		t.Errorf("%d events about %d nodes, at most %d at a time", len(details), nodes, most)
	}
	from, err := j.Last(t.Context(), At(time.Time{}), Mark{key: forever}, 5, wantAll)
	ok(t, err)
	if last, _, _ := read(from); !slices.Equal(last, details[len(details)-5:]) {
		t.Errorf("the last five are %q", last)
	}
	ok(t, j.trim(t.Context(), 3*each+1, 0, 0))
	if kept, nodes, _ := read(At(time.Time{})); nodes != 3*each+5 || kept[0] != "3" {
		t.Errorf("of %d nodes %q is kept", nodes, kept)
	}
	// The oldest is as large as what is too much, and not less than is kept may be left.
	ok(t, j.trim(t.Context(), 3*each-trimStep, 0, 0))
	ok(t, j.trim(t.Context(), 2*each+10, 0, 0))
	if kept, nodes, _ := read(At(time.Time{})); nodes != 3*each || kept[0] != "4" {
		t.Errorf("of %d nodes %q is kept", nodes, kept)
	}
}
