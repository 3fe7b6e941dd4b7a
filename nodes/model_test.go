package nodes

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"walt/auth"
	"walt/fault"
	"walt/images"
	"walt/state"
	"walt/state/badger"
)

var (
	seed = flag.Uint64("seed", 0, "play the one run of this seed")
	runs = flag.Int("runs", 0, "play so many runs that nobody has seen, of all their steps")
)

// TestModel has random users type random commands into a lab: they take, give and release
// nodes, wait for them, hold them for some time, and have them out of service, while images,
// users and devices come and go. After each command, and what follows from it by itself, it
// compares how that ended, what those who wait were told, and what is in the store, with what the
// simple model in world_test.go says. Some commands are interrupted by another one between
// what they read and their commit: the outcome must be that of one after the other. The server
// ends and starts; and it crashes, before or after a commit, of a command or of what it does by
// itself, and another one is started on the same store.
//
// Each step has its own randomness, so that a run that fails can be made shorter. Unless new
// runs are asked for, it is the same ones each time: who changed nothing here is not stopped by
// what nobody has found before.
func TestModel(t *testing.T) {
	t.Parallel()
	seeds, steps := []uint64{24, 36, 20, 9, 25, 26, 2, 38}, 1250 // of the first 40 those that reach most
	switch {
	case *seed != 0:
		seeds = []uint64{*seed}
	case *runs != 0:
		seeds = nil
		for range *runs {
			seeds = append(seeds, rand.Uint64N(1_000_000))
		}
	case testing.Short():
		seeds, steps = seeds[:2], 300
	case raced: // make test runs it without, too
		seeds, steps = seeds[:4], 300
	}
	for _, s := range seeds {
		t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) {
			t.Parallel()
			all := make([]int, steps)
			for i := range all {
				all[i] = i
			}
			m := play(t, s, all)
			if m.wrong == "" {
				t.Logf("ended so often: %v", m.ends)
				return
			}
			m = shortened(t, s, all[:m.steps], m)
			t.Fatalf("%s\n%s\nbefore that:\n  %s", strings.Join(m.history, "\n"), m.wrong, strings.Join(m.before, "\n  "))
		})
	}
}

// shortened is a run that fails with as few of the steps as are found in some time; at first
// without those that did nothing.
func shortened(t *testing.T, seed uint64, steps []int, m *model) *model {
	end := time.Now().Add(30 * time.Second)
	for {
		fewer := slices.DeleteFunc(slices.Clone(steps), func(i int) bool { return m.idle[i] })
		if shorter := play(t, seed, fewer); len(fewer) == len(steps) || shorter.wrong == "" {
			break
		} else {
			m, steps = shorter, fewer[:shorter.steps]
		}
	}
	for part := len(steps) / 2; part > 0; part /= 2 {
		for from := 0; from+part < len(steps) && time.Now().Before(end); {
			fewer := slices.Concat(steps[:from], steps[from+part:])
			if shorter := play(t, seed, fewer); shorter.wrong != "" {
				m, steps = shorter, fewer[:shorter.steps]
			} else {
				from += part
			}
		}
	}
	return m
}

type model struct {
	rand     *rand.Rand
	base     state.Store
	store    *rough // on it, of the present server
	lab      testLab
	quit     context.CancelFunc
	ended    chan error
	shelf    *shelf
	world    *world
	old      *world // a while ago: what users may have been shown
	ends     map[string]int
	patients map[int]*patient // the clients that wait
	typed    map[string]wish  // by the line
	came     int              // how many clients did so far
	steps    int              // how many were done
	moments  int              // how many were chosen
	idle     map[int]bool     // the steps that did nothing
	history  []string
	before   []string // the last step, the world in words
	wrong    string   // what is not as it should be, "" when all is
}

// mismatch is a panic with what is wrong.
type mismatch string

func complain(format string, args ...any) { panic(mismatch(fmt.Sprintf(format, args...))) }

// play does steps in a bubble of time, until something is wrong.
func play(t *testing.T, seed uint64, steps []int) *model {
	m := &model{
		shelf: newShelf(), ends: map[string]int{}, idle: map[int]bool{}, patients: map[int]*patient{}, typed: map[string]wish{},
		world: &world{users: map[auth.Name]bool{"alice": true}, things: map[Name]thing{}, images: map[images.Ref]images.Image{}, clients: map[int]client{}},
	}
	synctest.Test(t, func(t *testing.T) {
		base, err := badger.OpenMemory()
		ok(t, err)
		defer func() { ok(t, base.Close()) }()
		m.base = base
		m.open(t)
		defer func() { _ = m.close() }()
		defer func() {
			switch r := recover().(type) {
			case nil:
			case mismatch:
				m.wrong = string(r)
			default:
				panic(r)
			}
		}()
		ok(t, m.lab.users.Ensure(t.Context(), "alice", keyOf("alice")))
		m.world.now, m.old = time.Now(), m.world
		m.furnish(t)
		for _, i := range steps {
			m.steps++
			m.rand = rand.New(rand.NewPCG(seed, uint64(i)+1))
			succeeded := m.ends[done]
			m.step(t)
			m.idle[i] = m.ends[done] == succeeded
		}
	})
	return m
}

// open starts a server.
func (m *model) open(t *testing.T) {
	m.store = &rough{Store: m.base, died: make(chan struct{})}
	m.lab = over(m.store, time.Now, m.shelf)
	ctx, cancel := context.WithCancel(t.Context())
	m.quit, m.ended = cancel, make(chan error, 1)
	lab, ended := m.lab, m.ended
	go func() { ended <- lab.Run(ctx) }() // ends with close
	m.settle(t)
}

// settle waits for all that follows from what was done, of which the lab finds some when it
// looks at its devices again.
func (m *model) settle(t *testing.T) {
	t.Helper()
	synctest.Wait()
	ok(t, m.lab.view.Read(t.Context(), func() {}))
	synctest.Wait()
}

// close ends the server. Who waits keeps the place.
func (m *model) close() error {
	if m.quit == nil { // it crashed
		return nil
	}
	for _, p := range m.patients {
		p.stopping.Store(true)
		p.leave()
		<-p.ended
	}
	m.quit()
	m.quit = nil
	return <-m.ended
}

// furnish has some users and nodes be there in the beginning.
func (m *model) furnish(t *testing.T) {
	for _, u := range []auth.Name{"bob", "carol"} {
		m.run(t, m.addUserCommand("alice", u, false))
	}
	for i, model := range []images.Model{"m1", "m1", "m1", "m2", "m2"} {
		n := Name(fmt.Sprintf("n%d", i+1))
		m.run(t, m.announceCommand(Announcement{Name: n, MAC: macOf(string(n)), Model: model, Host: []HostKind{Physical, Simulated}[i%2]}))
		m.run(t, m.downloadOf(model))
	}
}

func (m *model) step(t *testing.T) {
	t.Helper()
	m.before = m.world.lines()
	m.pass(t)
	if m.rand.IntN(40) == 0 {
		m.world.down = !m.world.down
		m.shelf.fail(nil)
		if m.world.down {
			m.shelf.fail(fault.Failedf("the registry is down"))
		}
	}
	if m.rand.IntN(8) == 0 {
		m.old = m.world.clone()
	}
	c := m.command()
	switch p := m.rand.IntN(100); {
	case p < 5:
		m.crash(t, c)
	case p < 7:
		m.restart(t)
	case p < 30 && !c.apart && !c.alone:
		between := m.command()
		if m.rand.IntN(3) == 0 { // something that was not there to be read
			between = pick(m, m.registerCommand(), m.createCommand(m.user()), m.pushCommand(m.user()))
		}
		if !m.mayInterrupt(c, between) {
			m.run(t, c)
			break
		}
		m.interrupt(t, c, between)
	default:
		m.run(t, c)
	}
	checkView(t, m.lab)
	if t.Failed() {
		complain("the view has other devices than the store")
	}
}

// pass lets some time pass, mostly a little.
func (m *model) pass(t *testing.T) {
	d := time.Second
	switch p := m.rand.IntN(100); {
	case p < 60:
	case p < 85:
		d = time.Minute
	case p < 97:
		d = 6 * time.Minute
	default:
		d = 40 * time.Minute
	}
	at := m.offbeat(m.world.now.Add(time.Duration(m.rand.Int64N(int64(d)))))
	text := "until " + clock(at)
	if m.rand.IntN(100) < 2 {
		m.crash(t, command{text: text, do: func(w *world) string {
			w.pass(at)
			return done
		}, ask: func(context.Context, testLab) (Result, error) {
			select {
			case <-time.After(time.Until(at)):
				return Result{}, nil
			case <-m.store.died:
				return Result{}, errCrash
			}
		}})
		return
	}
	start := m.world.now.Add(1)
	m.world.passed = nil
	time.Sleep(time.Until(at))
	m.settle(t)
	m.world.pass(at)
	m.compare(t, text)
	m.told(t, text, start)
}

// offbeat is the next moment in which nothing else happens: holds end at whole seconds, and no
// two of these moments, nor what follows some seconds or minutes after one, are in the same
// millisecond of a second.
func (m *model) offbeat(at time.Time) time.Time {
	m.moments++
	return at.Truncate(time.Second).Add(time.Second + time.Duration(1+m.moments%998)*time.Millisecond)
}

// did adds to the history.
func (m *model) did(text string) { m.history = append(m.history, clock(m.world.now)+"  "+text) }

// predict has the world do a command, and what follows from it.
func (m *model) predict(c command) string {
	end := c.run(m.world)
	m.world.rest()
	m.world.pass(m.world.now)
	return end
}

// run has the lab do one command.
func (m *model) run(t *testing.T, c command) {
	t.Helper()
	m.did(c.text)
	before := m.world.clone()
	m.world.passed = nil
	end := m.predict(c)
	start := m.world.now
	result, err := c.ask(t.Context(), m.lab)
	m.settle(t)
	m.endedAs(c.text, err, end)
	m.compare(t, c.text)
	m.told(t, c.text, start)
	m.checkResult(c.text, result, before)
}
