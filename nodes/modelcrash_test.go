package nodes

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// mayInterrupt reports whether the command c may be done in the middle of a, while nobody
// waits for nodes: of those who do more may follow than one thing, and a second one that
// conflicts waits for the store until a ends, which is not seen in a bubble of time. When a
// decides by what it takes, it may be from before c, of which the user who does both would see.
func (m *model) mayInterrupt(a, c command) bool {
	if a.picks && a.who() == c.who() {
		return false
	}
	waits := len(m.patients)+len(m.world.wishes)+a.client+c.client > 0
	return !waits && !c.alone
}

// interrupt has the lab do the command b in the middle of a.
func (m *model) interrupt(t *testing.T, a, b command) {
	t.Helper()
	text := a.text + ", interrupted by " + b.text
	m.did(text)
	before := m.world.clone()
	ran := false
	var endB string
	var errB error
	m.store.interrupt(func() {
		ran = true
		endB = m.predict(b)
		_, errB = b.ask(t.Context(), m.lab)
		m.settle(t)
	})
	_, err := a.ask(t.Context(), m.lab)
	m.settle(t)
	m.store.interrupt(nil)
	endA := m.predict(a)
	if is := m.found(t); ran && a.picks && !slices.Equal(is.lines(), m.world.lines()) {
		text += "\nafter the latter it would be\n  " + strings.Join(minus(m.world.lines(), is.lines()), "\n  ")
		m.world = before.clone()
		endA = m.predict(a)
		after := m.predict(b)
		if after != endB {
			complain("%s: the latter ended with %q, and after the former it would have with %q", text, endB, after)
		}
	}
	if ran {
		m.endedAs(text, errB, endB)
	}
	m.endedAs(text, err, endA)
	m.compare(t, text)
}

// crash has the server end at one of the next commits, before or after it, and starts it
// again: all that was done before is done, and nothing else.
func (m *model) crash(t *testing.T, c command) {
	t.Helper()
	spare, after := m.rand.IntN(3), m.rand.IntN(2) == 0
	c.text += fmt.Sprintf(", with a crash at commit %d (after it: %v)", 1+spare, after)
	m.did(c.text)
	m.store.crash(spare, after)
	trail := []*world{m.world.clone()}
	m.world.trail = &trail
	_, err := c.ask(t.Context(), m.lab)
	m.settle(t)
	end := c.run(m.world)
	least := 0
	if err == nil {
		least = len(trail) - 1
	}
	m.world.rest()
	m.world.pass(m.world.now)
	m.world.trail = nil
	if !errors.Is(err, errCrash) {
		m.endedAs(c.text, err, end)
	}
	if !isClosed(m.store.died) {
		m.store.crash(-1, false)
		m.compare(t, c.text)
		return
	}
	told := map[int]string{}
	for id, p := range m.patients {
		if isClosed(p.ended) && p.err == nil {
			told[id] = p.outcome()
		}
	}
	_ = m.close() // it ends with the crash
	m.world = m.which(t, c.text, trail, least, told)
	m.reopen(t)
}

// which returns the last of what may be after a crash that is.
func (m *model) which(t *testing.T, text string, trail []*world, least int, told map[int]string) *world {
	t.Helper()
	is := m.read(t)
	for _, w := range slices.Backward(trail[least:]) {
		w = w.clone()
		w.learn(is)
		early := slices.ContainsFunc(slices.Collect(maps.Keys(told)), func(id int) bool {
			return w.clients[id].end != told[id] && !slices.ContainsFunc(w.wishes, func(wi wish) bool { return wi.client == id && wi.got == told[id] })
		})
		if early { // somebody was told what is not so yet
			continue
		}
		w.wishes = slices.DeleteFunc(w.wishes, func(wi wish) bool { return wi.granted() && is.wish(wi.id) < 0 }) // it was told
		for _, at := range trail {
			for _, wi := range at.wishes {
				if i := is.wish(wi.id); i >= 0 && wi.granted() && is.wishes[i].granted() && w.wish(wi.id) < 0 {
					w.wishes = append(w.wishes, wi)
				}
			}
		}
		slices.SortFunc(w.wishes, func(a, b wish) int { return a.id - b.id })
		if slices.Equal(is.lines(), w.lines()) {
			return w
		}
	}
	m.world = trail[len(trail)-1]
	m.differ(text, is)
	return nil
}

// restart has the server end and start.
func (m *model) restart(t *testing.T) {
	t.Helper()
	m.did("the server ends")
	if err := m.close(); err != nil {
		complain("the server ended with %v", err)
	}
	m.reopen(t)
}

// reopen starts the server after a while: it starts every virtual node on its image.
func (m *model) reopen(t *testing.T) {
	t.Helper()
	m.patients = map[int]*patient{}
	for i := range m.world.wishes {
		m.world.wishes[i].client = 0
	}
	m.compare(t, "the server ended")
	time.Sleep(time.Until(m.offbeat(time.Now().Add(time.Duration(m.rand.Int64N(int64(10 * time.Minute)))))))
	m.world.now = time.Now()
	m.did("the server starts")
	m.open(t)
	m.world.start()
	m.compare(t, "the server started")
	var virtual []Name
	for n, d := range m.world.things {
		if d.virtual && d.kind == Node {
			virtual = append(virtual, n)
		}
	}
	started := m.lab.grid.take()
	slices.Sort(started)
	slices.Sort(virtual)
	if !slices.Equal(started, virtual) {
		complain("at its start %v were started, want %v", started, virtual)
	}
}
