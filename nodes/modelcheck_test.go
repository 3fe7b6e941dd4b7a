package nodes

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/state"
)

// checkResult compares what a user is told with what was done.
func (m *model) checkResult(text string, result Result, before *world) {
	var moved []Name
	for _, ch := range result.Changes {
		if ch.Changed {
			moved = append(moved, ch.Node)
		}
		d := m.world.things[ch.Node]
		was := ch.Previous == owned(before.things[ch.Node])
		if !ch.Until.IsZero() && !ch.Until.After(m.world.now) { // it ended at once
			return
		}
		if ch.Next != "" {
			if got := fmt.Sprintf("%s:  -> %s", ch.Node, ch.Next); !was || !slices.Contains(m.world.passed, got) {
				complain("%s: the result %+v of %+v", text, ch, d)
			}
			continue
		}
		passed := slices.DeleteFunc(slices.Clone(m.world.passed), func(s string) bool { return !strings.HasPrefix(s, string(ch.Node)+":") })
		if len(passed) > 1 { // it went on, later
			continue
		}
		if ch.Image != d.image || !was || ch.Changed && (ch.Reboot.Outcome == RebootOK) != d.virtual {
			complain("%s: the result %+v of %+v", text, ch, d)
		}
	}
	if all := changed(before, m.world); m.world.granted == before.granted && result.Changes != nil && !slices.Equal(moved, all) {
		complain("%s: changed are %v, the result tells of %v", text, all, result.Changes)
	}
}

// endedAs compares how a command ended with how it should.
func (m *model) endedAs(text string, err error, want string) {
	m.ends[strings.Fields(want)[0]]++
	got := done
	if c, is := errors.AsType[*consent.Error](err); is {
		got = contest(c)
	} else if f := fault.As(err); f != nil {
		got = map[fault.Kind]string{fault.Failed: failed, fault.InUse: inUse, fault.Usage: usage}[f.Kind]
	} else if err != nil {
		got = "internal error"
	}
	if got != want {
		complain("%s:\nended with %q (%v), want %q", text, got, err, want)
	}
}

// compare checks the invariants, compares the store with the world, and what those who wait
// were told, and learns from it what the world cannot know: invented addresses.
func (m *model) compare(t *testing.T, text string) {
	t.Helper()
	if wrong := broken(t, m.base); len(wrong) > 0 {
		complain("%s:\nbroken: %s", text, strings.Join(wrong, "\n"))
	}
	is := m.found(t)
	if !slices.Equal(is.lines(), m.world.lines()) {
		m.differ(text, is)
	}
	if idle := is.idle(func(id int) bool { return m.world.wishes[m.world.wish(id)].client != 0 }); idle != "" {
		complain("%s:\n%s", text, idle)
	}
	for _, id := range slices.Sorted(maps.Keys(m.patients)) {
		p, got := m.patients[id], ""
		if isClosed(p.ended) {
			got = p.outcome()
		}
		c := m.world.clients[id]
		if c.how == stuck && c.end == "cancelled" && got == "" { // it is told when it answers
			continue
		}
		if want := c.end; got != want {
			complain("%s:\nclient %d was told %q (%v), want %q", text, id, got, p.err, want)
		}
		if got != "" {
			m.ends[strings.Fields(got)[0]]++
			delete(m.patients, id)
			delete(m.world.clients, id)
		}
	}
}

func (m *model) differ(text string, is *world) {
	got, want := is.lines(), m.world.lines()
	complain("%s:\nin the store:\n  %s\nwanted:\n  %s", text, strings.Join(minus(got, want), "\n  "), strings.Join(minus(want, got), "\n  "))
}

// found returns what is in the store, and has the world know what it cannot.
func (m *model) found(t *testing.T) *world {
	t.Helper()
	is := m.read(t)
	m.world.learn(is)
	return is
}

// learn takes over the addresses of what is new.
func (w *world) learn(is *world) {
	for n, d := range is.things {
		if known, here := w.things[n]; here && known.mac == "" {
			known.mac = d.mac
			w.things[n] = known
		}
	}
}

func minus(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// read returns what is in the store.
func (m *model) read(t *testing.T) *world {
	t.Helper()
	w := &world{users: map[auth.Name]bool{}, things: map[Name]thing{}, images: map[images.Ref]images.Image{}, now: m.world.now}
	ids := map[string]int{}
	number := func(mac string) int {
		if ids[mac] == 0 {
			ids[mac] = len(ids) + 1
		}
		return ids[mac]
	}
	ok(t, m.base.View(t.Context(), func(r state.Reader) error {
		for e, err := range state.NewTable[struct{ Admin bool }]("user").Scan(r, "", "") {
			ok(t, err)
			w.users[auth.Name(e.Key)] = e.Value.Admin
		}
		all, err := everything(r)
		ok(t, err)
		for _, d := range all {
			is := thing{id: number(string(d.MAC)), mac: d.MAC, kind: d.Kind, model: d.Model, virtual: d.Virtual(), image: d.Image, since: d.Since}
			if r := d.Retired(); r != nil {
				is.retired = r.By
			}
			say := d.Remarks()
			is.said = said{until: say.Until, job: say.Job, note: say.Note}
			for _, mate := range say.Mates {
				is.mates += " " + string(mate)
			}
			for _, a := range say.Asks {
				is.asks += " " + string(a.By)
			}
			w.things[d.Name] = is
		}
		imgs, err := images.All(r)
		ok(t, err)
		for _, img := range imgs {
			w.images[img.Ref] = img
		}
		w.last, _, err = lastWish.Find(r, "id")
		ok(t, err)
		ws, err := wishes.All(r, "")
		ok(t, err)
		for _, row := range ws {
			wi := wish{id: row.ID, user: row.User, n: row.N, model: row.Model, set: row.Set, since: row.Since, at: row.Granted}
			wi.say = remarks{row.Remarks.Job, row.Remarks.Note, row.Remarks.End}
			for _, mac := range row.Nodes {
				wi.nodes = append(wi.nodes, number(string(mac)))
			}
			for _, mac := range row.Given {
				wi.given = append(wi.given, number(string(mac)))
			}
			w.wishes = append(w.wishes, wi)
		}
		return nil
	}))
	return w
}

// told checks that each change of hands is in the journal, once.
func (m *model) told(t *testing.T, text string, start time.Time) {
	t.Helper()
	var got []string
	ok(t, m.lab.Journal.History(t.Context(), journal.At(start), journal.At(m.world.now.Add(1)), nil, journal.Each(func(e journal.Event) error {
		if e.Type == journal.Ownership {
			for _, n := range e.About() {
				got = append(got, fmt.Sprintf("%s: %s -> %s", n, e.From, e.To))
			}
		}
		return nil
	})))
	slices.Sort(got)
	slices.Sort(m.world.passed)
	if !slices.Equal(got, m.world.passed) {
		complain("%s: the journal tells %q, want %q", text, got, m.world.passed)
	}
}

// owned is the owner of a thing; one that is new was free.
func owned(d thing) auth.Name {
	if d.kind != Node {
		return auth.Nobody
	}
	return d.image.User
}

// changed lists the nodes that boot another image than before, or are new, in
// the order of results.
func changed(before, after *world) []Name {
	all, _ := after.expand("", "all-nodes", true)
	return slices.DeleteFunc(all, func(n Name) bool {
		return before.things[n].image == after.things[n].image || before.things[n].kind == Unknown
	})
}
