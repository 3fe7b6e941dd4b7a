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

		"tag:LoRa+Model:RPI-3-B":    "tag:lora+model:rpi-3-b",
		"not:State:OFF,NOT:rpi-*":   "not:state:off,not:rpi-*",
		"job:Build.7_x,user:bob":    "job:Build.7_x,user:bob",
		"tag,not,model+job":         "tag,not,model+job", // devices may be called so
		"free-nodes+not:tag:rack-3": "free-nodes+not:tag:rack-3",
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

// What is wrong in a set is said precisely.
func TestParseSetSays(t *testing.T) {
	t.Parallel()
	for s, named := range map[string][]string{
		"tag:x+":              {"+", "one side only", "model:rpi-3-b+tag:lora"},
		"+tag:x":              {"one side only"},
		"rpi-1,a++b":          {"one side only"},
		"+":                   {"one side only"},
		"not:":                {"not: in the set", "no word behind it", "not:state:off"},
		"rpi-1,not:":          {"no word behind it"},
		"not:not:rpi-1":       {"not: twice"},
		"not:NOT:":            {"not: twice"},
		"tags:x":              {`unknown word "tags:"`, "did you mean tag:?"},
		"nto:rpi-1":           {`unknown word "nto:"`, "did you mean not:?"},
		"b8:27:eb:00:00:03":   {`unknown word "b8:"`, "tag:, model:, user:, state:, job: and not:"},
		"tag:":                {"tag: in the set", "nothing behind it", "tag:lora"},
		"not:model:":          {"model: in the set", "model:rpi-3-b"},
		"tag:lo*":             {"globs are for names", "tag:lo*"},
		"state:o?":            {"globs are for names"},
		"tag:a:b":             {"invalid tag", "a:b"},
		"tag:-x":              {"invalid tag"},
		"model:x_y":           {"invalid model"},
		"state:of":            {"unknown state of", "did you mean off"},
		"state:xyzzy":         {"unknown state xyzzy", "the states are off, booting, up, unreachable, powersave"},
		"user:waltplatform":   {"nobody's name", "free-nodes"},
		"user:server":         {"no user can be called", "user show"},
		"job:a/b":             {"invalid job"},
		"job:not:x":           {"invalid job"},
		":x":                  {"unknown word"},
		"not::x":              {"unknown word"},
		"my-nodes+free nodes": {"invalid device set"},
	} {
		_, err := ParseSet(s)
		wantFault(t, err, fault.Usage, named...)
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
		ds, err = parse(set).expand(l.stored(t.Context(), r), user, sc)
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

// newMarked is newMix with tags: lora on rpi-1, rpi-2 and sw-1, rack-3 on rpi-2 and pc-1.
// rpi-2 is bob's for a job, rpi-1 and pc-1 are up, and rpi-10 is called tag.
func newMarked(t testing.TB) testLab {
	t.Helper()
	l := newMix(t)
	_, err := l.Rename(t.Context(), "alice", "rpi-10", "tag", consent.Agreement{})
	ok(t, err)
	for n, tags := range map[Name][]string{"rpi-1": {"lora"}, "rpi-2": {"lora", "rack-3"}, "pc-1": {"rack-3"}, "sw-1": {"lora"}} {
		d := l.device(t, n)
		d.Marks = &Marks{Tags: tags}
		_, err := l.Store.Update(t.Context(), func(tx state.Tx) error { return devices.Put(tx, string(n), d) })
		ok(t, err)
	}
	_, err = l.SetImage(t.Context(), "bob", Only("rpi-2"), "m1-default", Remarks{Job: "Build.7"}, consent.Agreement{})
	ok(t, err)
	for _, n := range []Name{"rpi-1", "pc-1"} {
		l.Up(n, "127.0.0.1:1")
	}
	return l
}

// markedSets are what the words of sets stand for in newMarked, to bob.
var markedSets = map[string][]Name{
	"tag:lora":                             {"rpi-1", "rpi-2"},
	"tag:LORA,tag:rack-3":                  {"pc-1", "rpi-1", "rpi-2"},
	"tag:lora+tag:rack-3":                  {"rpi-2"},
	"tag:lora+not:tag:rack-3":              {"rpi-1"},
	"not:tag:lora":                         {"pc-1", "tag"},
	"not:tag:lora+not:tag:rack-3":          {"tag"},
	"tag":                                  {"tag"},
	"not:tag":                              {"pc-1", "rpi-1", "rpi-2"},
	"model:m1":                             {"pc-1", "rpi-1", "rpi-2", "tag"},
	"model:m1+rpi-*":                       {"rpi-1", "rpi-2"},
	"rpi-*+not:rpi-2":                      {"rpi-1"},
	"rpi-1+rpi-*,rpi-1":                    {"rpi-1"},
	"user:bob":                             {"rpi-2"},
	"user:bob,user:carol":                  {"pc-1", "rpi-2"},
	"not:user:bob":                         {"pc-1", "rpi-1", "tag"},
	"user:alice,tag":                       {"tag"},
	"my-nodes+tag:lora":                    {"rpi-2"},
	"free-nodes+tag:lora":                  {"rpi-1"},
	"not:free-nodes+not:my-nodes":          {"pc-1"},
	"all-nodes+not:free-nodes":             {"pc-1", "rpi-2"},
	"all-devices+tag:lora":                 {"rpi-1", "rpi-2"},
	"state:up":                             {"pc-1", "rpi-1"},
	"state:up+tag:lora,state:off+my-nodes": {"rpi-1"},
	"not:state:up":                         {"rpi-2", "tag"},
	"rpi-*+not:state:up":                   {"rpi-2"},
	"job:Build.7":                          {"rpi-2"},
	"not:job:Build.7+model:m1":             {"pc-1", "rpi-1", "tag"},
	"job:Build.7+state:booting,job:gone":   {"rpi-2"},
	"all-switches,tag:lora":                {"rpi-1", "rpi-2"},
}

// The words mean the same in a transaction and where they are only shown.
func TestWordsOfSets(t *testing.T) {
	t.Parallel()
	l := newMarked(t)
	l.Boot(t.Context(), "rpi-2")
	for set, want := range markedSets {
		got, err := l.expand(t, "bob", set, nodeScope)
		ok(t, err)
		equal(t, set, got, want...)
		shown, err := l.Show(t.Context(), "bob", parse(set))
		ok(t, err)
		equal(t, set+" shown", slices.Collect(shown.Names()), want...)
		ok(t, l.Store.View(t.Context(), func(r state.Reader) error {
			matches, err := parse(set).matcher(l.stored(t.Context(), r), "bob")
			ok(t, err)
			for _, n := range []Name{"pc-1", "rpi-1", "rpi-2", "tag"} {
				if d := l.device(t, n); matches(&d) != slices.Contains(want, n) {
					t.Errorf("%s matches %s: %v", set, n, matches(&d))
				}
			}
			return nil
		}))
	}
	for set, want := range map[string][]Name{
		"tag:lora":              {"rpi-1", "rpi-2", "sw-1"},
		"tag:lora+all-switches": {"sw-1"},
		"model:m9":              {"odd"},
		"not:all-nodes":         {"odd", "sw-1"},
		"not:state:up+not:odd":  {"rpi-2", "sw-1", "tag"},
	} {
		got, err := l.expand(t, "bob", set, deviceScope)
		ok(t, err)
		equal(t, set, got, want...)
	}
}

// What there is not is told at once, whichever word asks for it, also behind not:.
func TestWordsOfSetsRefuse(t *testing.T) {
	t.Parallel()
	l := newMarked(t)
	for set, named := range map[string][]string{
		"tag:lara":                   {"unknown tag lara", "did you mean lora"},
		"tag:xyzzy,rpi-1":            {"unknown tag xyzzy", "the tags are lora, rack-3"},
		"not:tag:lara+rpi-1":         {"unknown tag lara"},
		"tag:lara,tag:rock-3,rpi-22": {"unknown node rpi-22; unknown tags lara, rock-3", "did you mean rpi-2", "did you mean lora instead of lara", "did you mean rack-3 instead of rock-3"},
		"model:m2":                   {"unknown model m2", "did you mean m1"},
		"user:bobb":                  {"unknown user bobb", "did you mean bob"},
		"tag:lora+zz*":               {"unknown node zz*"},
		"tag:lora+not:rpi-22,rpi-22": {"unknown node rpi-22", "did you mean rpi-2"},
		"tag:lora+sw-1":              {"not a node: sw-1"},
		"not:server":                 {"not a node: server"},
		"tag:lora+user:carol":        {"the set \"tag:lora+user:carol\" is empty"},
		"job:gone":                   {"the set \"job:gone\" is empty"},
		"job:build.7":                {"is empty"},
		"user:alice":                 {"is empty"},
		"state:unreachable":          {"is empty"},
		"all-switches+tag:lora":      {"is empty"},
	} {
		got, err := l.expand(t, "bob", set, nodeScope)
		wantFault(t, err, fault.Failed, named...)
		if len(got) > 0 {
			t.Errorf("%s: got %v besides", set, got)
		}
	}
	if _, err := l.expand(t, "carol", "job:Build.7", nodeScope); err == nil {
		t.Error("carol gets the nodes of bob's job")
	}
}

// Who has none of a job is content to release them, as with my-nodes.
func TestReleaseOfAJob(t *testing.T) {
	t.Parallel()
	l := newMarked(t)
	_, err := l.SetImage(t.Context(), "bob", Only("rpi-1"), "m1-default", Remarks{}, consent.Agreement{})
	ok(t, err)
	for range 2 {
		_, err = l.Release(t.Context(), "bob", parse("job:Build.7,job:gone"))
		ok(t, err)
		equal(t, "owners", l.owners(t, "rpi-1", "rpi-2"), "bob", "waltplatform")
	}
	_, err = l.Release(t.Context(), "bob", parse("job:Build.7,user:bob+tag:rack-3"))
	wantFault(t, err, fault.Failed, "empty")
	_, err = l.Release(t.Context(), "bob", parse("my-nodes,job:Build.7"))
	ok(t, err)
	equal(t, "owners", l.owners(t, "rpi-1", "rpi-2"), "waltplatform", "waltplatform")
}

// A transaction that finds devices in memory conflicts with those that it takes alone.
func TestWordsOfSetsConflictWithLittle(t *testing.T) {
	t.Parallel()
	l := newMarked(t)
	for _, set := range []string{"tag:lora+free-nodes", "model:m1+not:my-nodes+tag:lora", "state:up+free-nodes"} {
		tries := 0
		_, err := l.Store.Update(t.Context(), func(tx state.Tx) error {
			tries++
			ds, err := parse(set).expand(l.stored(t.Context(), tx), "bob", nodeScope)
			if err != nil || len(ds) != 1 || ds[0].Name != "rpi-1" {
				t.Fatalf("%s: %v, %v", set, ds, err)
			}
			tag := l.device(t, "tag")
			tag.Told = !tag.Told
			_, err = l.Store.Update(t.Context(), func(tx state.Tx) error { return devices.Put(tx, "tag", tag) })
			ok(t, err)
			ds[0].Reports = "m9"
			return devices.Put(tx, "rpi-1", ds[0])
		})
		ok(t, err)
		if tries != 1 {
			t.Errorf("%s: the transaction ran %d times", set, tries)
		}
	}
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
	for _, s := range []string{"my-nodes", "rpi-*,pc-1", "*", "rpi-[1-2]", "odd,zz", "server", "a[^-]?", "?*,", "[!a]", "RPI-1,rpi-1", "tag:lora+not:rpi-*", "not:state:off,user:bob", "model:m1+job:x", "server+tag:lora"} {
		f.Add(s)
	}
	l := newMarked(f)
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
				ds, err := set.expand(l.stored(t.Context(), r), "bob", sc)
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
