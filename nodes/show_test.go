package nodes

import (
	"fmt"
	"runtime"
	"strconv"
	"testing"
)

// BenchmarkShow lists 10,000 nodes, all of them connected to ports of switches.
func BenchmarkShow(b *testing.B) {
	const nodes, ports = 10_000, 48
	l := newLab(b, nil)
	for i := range nodes {
		sw := Name(fmt.Sprintf("sw-%d", i/ports))
		if i%ports == 0 {
			l.addSwitch(b, sw, string(sw), "poe.reboots=true")
		}
		n := Name(fmt.Sprintf("n%d", i))
		l.node(b, n, "m1")
		l.configure(b, n, "switch="+string(sw), "port="+strconv.Itoa(i%ports+1))
	}
	for what, set := range map[string]string{"all": "all-nodes", "one": "n77"} {
		b.Run(what, func(b *testing.B) {
			for b.Loop() {
				all, err := inFull(l.Show(b.Context(), "alice", parse(set)))
				ok(b, err)
				if all[0].Switch == "" {
					b.Fatal("not connected")
				}
			}
		})
	}
}

// Names to complete come from memory, those with the prefix alone.
func TestNamesReadNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.populate(t, 12)
	l.addSwitch(t, "n-sw", "one")
	counted := &countedReads{Store: l.Store}
	l.Store = counted
	ok(t, l.view.Read(t.Context(), func() {}))
	for _, c := range []struct {
		kind   Kind
		prefix string
		wanted []string
	}{
		{Node, "n-1", []string{"n-1", "n-10", "n-11"}},
		{Switch, "n-", []string{"n-sw"}},
		{"", "n-s", []string{"n-sw"}},
		{"", "x", nil},
	} {
		names, err := l.Names(t.Context(), c.kind, c.prefix)
		ok(t, err)
		equal(t, c.prefix, names, c.wanted...)
	}
	if counted.n > 0 {
		t.Errorf("%d rows were read", counted.n)
	}
}

// The names of many devices are copied to one place that is large enough.
func TestNamesAreCopiedOnce(t *testing.T) {
	l := newLab(t, nil)
	l.populate(t, 3000)
	all := testing.AllocsPerRun(20, func() {
		names, err := l.Names(t.Context(), Node, "n-")
		ok(t, err)
		if len(names) != 3000 {
			t.Errorf("%d names", len(names))
		}
	})
	one := testing.AllocsPerRun(20, func() {
		_, err := l.Names(t.Context(), Node, "n-2999")
		ok(t, err)
	})
	if all > one+6 { // growing, it is moved more than a dozen times
		t.Errorf("3000 names take %v allocations, one %v", all, one)
	}
}

// A look whether nodes still answer, twice a minute, takes no memory for those that are off.
func TestProbeOfManyIsSmall(t *testing.T) {
	const most = 100_000
	l := newLab(t, nil)
	l.populate(t, 5000)
	l.probeAll(t.Context(), nil) // which reads all
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	l.probeAll(t.Context(), nil)
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > most {
		t.Errorf("it took %d bytes, want %d at most", took, most)
	}
}
