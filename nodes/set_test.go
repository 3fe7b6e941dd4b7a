package nodes

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"walt/auth"
	"walt/consent"
	"walt/ethernet"
	"walt/fault"
	"walt/state"
)

func TestParseSet(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"rpi-1":               "rpi-1",
		"RPI-1,my-nodes":      "rpi-1,my-nodes",
		"rpi-*,pc-?,x[0-9]":   "rpi-*,pc-?,x[0-9]",
		"rpi-[^2]":            "rpi-[^2]",
		"*":                   "*",
		"server,all-switches": "server,all-switches",
	} {
		set, err := ParseSet(s)
		if err != nil || set.String() != want {
			t.Errorf("%q: got %q, %v", s, set, err)
		}
	}
	for _, s := range []string{"", ",", "a,", ",a", "a,,b", "a b", "a, b", "-a", "a/b", "a\\b", "a[", "a[]b", "rpi-[2", "é", "a\n", "a\x00", "^a", "]"} {
		if set, err := ParseSet(s); fault.As(err) == nil || fault.As(err).Kind != fault.Usage {
			t.Errorf("%q: got %q, %v", s, set, err)
		}
	}
}

// newMix is a lab with devices of every kind: nodes of bob, carol and nobody, a
// switch and an unknown device.
func newMix(t testing.TB) testLab {
	t.Helper()
	l := newLab(t, []auth.Name{"bob", "carol"}, "rpi-10", "rpi-2", "rpi-1", "pc-1")
	l.node(t, "odd", "m9")
	d := Device{Name: "sw-1", MAC: macOf("sw-1"), Kind: Switch}
	_, err := l.Store.Update(t.Context(), func(tx state.Tx) error { return put(tx, d) })
	ok(t, err)
	for n, owner := range map[Name]auth.Name{"rpi-2": "bob", "pc-1": "carol"} {
		_, err := l.Acquire(t.Context(), owner, Only(n), Remarks{}, consent.Agreement{})
		ok(t, err)
	}
	return l
}

func (l testLab) expand(t testing.TB, user auth.Name, set string, sc scope) (names []Name, err error) {
	t.Helper()
	ok(t, l.Store.View(t.Context(), func(r state.Reader) error {
		var ds []Device
		ds, err = parse(set).expand(stored{r: r}, user, sc)
		for _, d := range ds {
			names = append(names, d.Name)
		}
		return nil
	}))
	return names, err
}

func TestExpand(t *testing.T) {
	t.Parallel()
	l := newMix(t)
	for set, want := range map[string][]Name{
		"rpi-2":                         {"rpi-2"},
		"rpi-10,rpi-2,rpi-10,rpi-1":     {"rpi-1", "rpi-2", "rpi-10"},
		"RPI-*":                         {"rpi-1", "rpi-2", "rpi-10"},
		"rpi-?,*-1":                     {"pc-1", "rpi-1", "rpi-2"},
		"rpi-[2-9]":                     {"rpi-2"},
		"*":                             {"pc-1", "rpi-1", "rpi-2", "rpi-10"},
		"my-nodes":                      {"rpi-2"},
		"free-nodes":                    {"rpi-1", "rpi-10"},
		"all-nodes":                     {"pc-1", "rpi-1", "rpi-2", "rpi-10"},
		"my-nodes,free-nodes,rpi-2":     {"rpi-1", "rpi-2", "rpi-10"},
		"my-nodes,all-switches,rpi-1":   {"rpi-1", "rpi-2"},
		"explorable-switches,pc-1":      {"pc-1"},
		"all-nodes,all-nodes,rpi-*,p*1": {"pc-1", "rpi-1", "rpi-2", "rpi-10"},
	} {
		got, err := l.expand(t, "bob", set, nodeScope)
		ok(t, err)
		equal(t, set, got, want...)
	}
	for set, want := range map[string][]Name{
		"all-devices":  {"odd", "pc-1", "rpi-1", "rpi-2", "rpi-10", "sw-1"},
		"all-switches": {"sw-1"},
		"odd,s*":       {"odd", "sw-1"},
		"my-nodes,odd": {"odd", "rpi-2"},
	} {
		got, err := l.expand(t, "bob", set, deviceScope)
		ok(t, err)
		equal(t, set, got, want...)
	}
}

func TestExpandRefuses(t *testing.T) {
	t.Parallel()
	l := newMix(t)
	for set, named := range map[string][]string{
		"rpi-3,rpi-1,xyzzy,zz*": {"nodes", "rpi-3", "xyzzy", "zz*", "rpi-1 or rpi-2"},
		"my-node":               {"my-nodes"},
		"odd,sw-1,rpi-1":        {"not a node: odd, sw-1"},
		"o*":                    {"o*"},
		"all-switches":          {"empty"},
	} {
		got, err := l.expand(t, "bob", set, nodeScope)
		wantFault(t, err, fault.Failed, named...)
		if len(got) > 0 {
			t.Errorf("%s: got %v besides", set, got)
		}
	}
	_, err := l.expand(t, "alice", "my-nodes", nodeScope)
	wantFault(t, err, fault.Failed, "my-nodes", "empty")
}

func TestDevicesAndTheServer(t *testing.T) {
	t.Parallel()
	l := newMix(t)
	for set, want := range map[string]int{"server": 0, "rpi-1,server": 1, "server,server,all-devices": 6} {
		found, server, err := l.Devices(t.Context(), "bob", parse(set))
		ok(t, err)
		if !server || found.Len() != want {
			t.Errorf("%s: got %d devices, server: %v", set, found.Len(), server)
		}
	}
	if _, server, err := l.Devices(t.Context(), "bob", parse("rpi-1")); err != nil || server {
		t.Errorf("got server: %v, %v", server, err)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]Name{"ab": "ab", "RPI-3": "rpi-3", "a--b": "a--b", strings.Repeat("a", 63): Name(strings.Repeat("a", 63))} {
		if n, err := ParseName(s); err != nil || n != want {
			t.Errorf("%q: got %q, %v", s, n, err)
		}
	}
	for _, s := range append(Keywords(), "", "a", "1a", "a-", "-a", "a_b", "a.b", "ab\n", "é1", strings.Repeat("a", 64), "My-Nodes") {
		_, err := ParseName(s)
		wantFault(t, err, fault.Usage)
	}
	for s, want := range map[string]ethernet.MAC{"B8-27-EB-00-00-02": "b8:27:eb:00:00:02", "b827.eb00.0002": "b8:27:eb:00:00:02"} {
		if mac, err := ethernet.ParseMAC(s); err != nil || mac != want {
			t.Errorf("%q: got %q, %v", s, mac, err)
		}
	}
	for _, s := range []string{"", "b8:27:eb:00:00", "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "02:00:5e:10:00:00:00:01"} {
		_, err := ethernet.ParseMAC(s)
		wantFault(t, err, fault.Usage)
	}
}

func TestNaturalOrder(t *testing.T) {
	t.Parallel()
	want := []Name{"a", "a-1", "a1", "a1-b2", "a01b", "a1b", "a02", "a2", "a010", "a10", "a99999999999999999999", "a100000000000000000000", "ab", "b"}
	got := slices.Clone(want)
	rand.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
	slices.SortFunc(got, Name.Compare)
	equal(t, "order", got, want...)
}

// FuzzCompare checks that it is a total order.
func FuzzCompare(f *testing.F) {
	for _, s := range [][3]string{{"a1", "a01", "a2"}, {"a1b", "a01a", "a1"}, {"", "0", "00"}, {"a-1", "a1", "a-"}, {"9", "10", "1a"}} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, s1, s2, s3 string) {
		a, b, c := Name(s1), Name(s2), Name(s3)
		if a.Compare(b) != -b.Compare(a) || (a.Compare(b) == 0) != (a == b) {
			t.Errorf("%q and %q: %d, and %d the other way", a, b, a.Compare(b), b.Compare(a))
		}
		if a.Compare(b) <= 0 && b.Compare(c) <= 0 && a.Compare(c) > 0 {
			t.Errorf("%q before %q before %q before %q", a, b, c, a)
		}
	})
}

// FuzzSet checks that every expression that parses stands for devices of its
// scope, each once, in natural order, or is refused with a fault.
func FuzzSet(f *testing.F) {
	for _, s := range []string{"my-nodes", "rpi-*,pc-1", "*", "rpi-[1-2]", "odd,zz", "server", "a[^-]?", "?*,", "[!a]", "RPI-1,rpi-1"} {
		f.Add(s)
	}
	l := newMix(f)
	f.Fuzz(func(t *testing.T, s string) {
		set, err := ParseSet(s)
		if err != nil {
			wantFault(t, err, fault.Usage)
			return
		}
		if again, err := ParseSet(set.String()); err != nil || again.String() != set.String() {
			t.Errorf("%q: parsed again it is %q, %v", set, again, err)
		}
		for _, sc := range []scope{nodeScope, deviceScope} {
			err := l.Store.View(t.Context(), func(r state.Reader) error {
				ds, err := set.expand(stored{r: r}, "bob", sc)
				if err == nil && (len(ds) == 0 || !slices.IsSortedFunc(ds, func(a, b Device) int { return a.Name.Compare(b.Name) })) {
					t.Errorf("%q stands for %v", s, ds)
				}
				for i, d := range ds {
					if !sc.holds(&d) || i > 0 && ds[i-1].Name == d.Name {
						t.Errorf("%q stands for %v", s, ds)
					}
				}
				return err
			})
			if err != nil && (fault.As(err) == nil || errors.Is(err, state.ErrNotFound)) {
				t.Errorf("%q: %v", s, err)
			}
		}
	})
}
