package nodes

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/state"
)

// people are the users of a race.
func people(n int) (all []auth.Name) {
	for i := range n {
		all = append(all, auth.Name(fmt.Sprintf("u%d", i)))
	}
	return all
}

// race has everybody do something at the same moment, and returns how it ended
// for each.
func race(n int, do func(i int) error) []error {
	ends := make([]error, n)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			ends[i] = do(i)
		})
	}
	close(start)
	all.Wait()
	return ends
}

func rounds(n int) int {
	if testing.Short() {
		return 1 + n/10
	}
	return n
}

func TestRaceForOneNode(t *testing.T) {
	t.Parallel()
	users := people(16)
	l := newLab(t, users, "n1")
	for range rounds(20) {
		ends := race(len(users), func(i int) error {
			_, err := l.Acquire(t.Context(), users[i], Only("n1"), Remarks{}, consent.Agreement{})
			return err
		})
		winner := slices.Index(ends, nil)
		if winner < 0 || l.device(t, "n1").Owner() != users[winner] {
			t.Fatalf("n1 is %s's; the ends: %v", l.device(t, "n1").Owner(), ends)
		}
		for i, err := range ends {
			if i != winner {
				c := wantContest(t, err, false, fmt.Sprintf("n1 %s", users[winner]))
				if d := l.device(t, "n1"); !c.Nodes[0].Since.Equal(d.Since) {
					t.Errorf("the loser is told of %v, want %v", c.Nodes[0].Since, d.Since)
				}
			}
		}
		_, err := l.Release(t.Context(), users[winner].Actor(), Only("n1"))
		ok(t, err)
	}
	sound(t, l.Store)
}

// TestRaceCrossing has users want the same nodes, named in another order: one
// gets all of them.
func TestRaceCrossing(t *testing.T) {
	t.Parallel()
	users := people(4)
	l := newLab(t, users, "n1", "n2", "n3")
	sets := []Set{parse("n1,n2,n3"), parse("n3,n2,n1"), parse("n2,n*"), parse("free-nodes")}
	for range rounds(30) {
		race(len(users), func(i int) error {
			_, err := l.Acquire(t.Context(), users[i], sets[i], Remarks{}, consent.Agreement{})
			return err
		})
		owners := l.owners(t, "n1", "n2", "n3")
		winner := owners[0]
		if winner == auth.Nobody || len(slices.Compact(owners)) != 1 {
			t.Fatalf("the owners are %v", owners)
		}
		_, err := l.Release(t.Context(), winner.Actor(), parse("my-nodes"))
		ok(t, err)
	}
	sound(t, l.Store)
}

// TestRaceForAny has more users want free nodes than there are: each node goes
// to one of them, and the others are told how many there are.
func TestRaceForAny(t *testing.T) {
	t.Parallel()
	users := people(8)
	l := newLab(t, users, "n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9", "n10")
	for range rounds(10) {
		got := make([]Result, len(users))
		ends := race(len(users), func(i int) (err error) {
			got[i], err = l.AcquireAny(t.Context(), users[i], Some{N: 2, Model: "m1"}, Remarks{})
			return err
		})
		taken := map[Name]bool{}
		for i, err := range ends {
			if err != nil {
				wantFault(t, err, fault.InUse, "none of the 2 m1 nodes wanted is free")
				continue
			}
			for _, ch := range got[i].Changes {
				if taken[ch.Node] || l.device(t, ch.Node).Owner() != users[i] {
					t.Errorf("%s got %s, which is %s's", users[i], ch.Node, l.device(t, ch.Node).Owner())
				}
				taken[ch.Node] = true
			}
			_, err := l.Release(t.Context(), users[i].Actor(), parse("my-nodes"))
			ok(t, err)
		}
		if len(taken) != 10 {
			t.Errorf("%d of 10 nodes were taken", len(taken))
		}
	}
	sound(t, l.Store)
}

// TestRaceOfImageAndNode has a user overwrite an image with a content for
// another model while making a node boot it: one of the two is refused.
func TestRaceOfImageAndNode(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"}, "n1")
	l.image(t, defaultOf("m2"))
	mine := ref("bob/mine")
	for range rounds(50) {
		img := defaultOf("m1")
		img.Ref = mine
		l.image(t, img)
		ends := race(2, func(i int) (err error) {
			if i == 0 {
				_, err = l.SetImage(t.Context(), "bob", Only("n1"), "mine", Remarks{}, consent.Agreement{})
			} else {
				_, _, err = l.clone(t.Context(), images.DefaultRef("m2"), mine, true, consent.Agreement{Whoever: true})
			}
			return err
		})
		if (ends[0] == nil) == (ends[1] == nil) {
			t.Fatalf("the ends: %v", ends)
		}
		sound(t, l.Store)
		_, err := l.SetImage(t.Context(), "bob", Only("n1"), "default", Remarks{}, consent.Agreement{})
		ok(t, err)
	}
}

// TestRaceOfUserAndNode removes users while they take nodes.
func TestRaceOfUserAndNode(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"heir"}, "n1", "n2")
	for i := range rounds(30) {
		l.user(t, "bob")
		legacy := []Legacy{{Force: true}, {Heir: "heir"}}[i%2]
		ends := race(3, func(i int) (err error) {
			switch i {
			case 0:
				_, err = l.Acquire(t.Context(), "bob", Only("n1"), Remarks{}, consent.Agreement{Whoever: true})
			case 1:
				_, _, err = l.clone(t.Context(), images.DefaultRef("m1"), ref("bob/mine"), true, consent.Agreement{Whoever: true})
			case 2:
				_, err = l.RemoveUser(t.Context(), "alice", "bob", legacy)
			}
			return err
		})
		ok(t, ends[2])
		sound(t, l.Store)
		_, err := l.SetImage(t.Context(), "alice", parse("all-nodes"), "default", Remarks{}, consent.Agreement{Whoever: true})
		ok(t, err)
	}
}

// TestRaceOfDownloadAndDevices registers devices while the default image that
// they wait for arrives: none is left waiting.
func TestRaceOfDownloadAndDevices(t *testing.T) {
	t.Parallel()
	for range rounds(10) {
		l := newLab(t, nil)
		l.node(t, "n0", "m2")
		const n = 6
		for _, err := range race(n, func(i int) error {
			if i == 0 {
				return l.Images.Download(t.Context(), "m2")
			}
			name := fmt.Sprintf("n%d", i)
			_, err := l.Register(t.Context(), "server", Announcement{Name: Name(name), MAC: macOf(name), Model: "m2"})
			return err
		}) {
			ok(t, err)
		}
		for i := range n {
			if d := l.device(t, Name(fmt.Sprintf("n%d", i))); d.Kind != Node || !d.Free() {
				t.Errorf("%s is %s and boots %s", d.Name, d.Kind, d.Image)
			}
		}
		sound(t, l.Store)
	}
}

// TestRaceForNames has many register the same name, and the same address.
func TestRaceForNames(t *testing.T) {
	t.Parallel()
	l := newLab(t, people(6))
	for round := range rounds(20) {
		name, mac := Name(fmt.Sprintf("n%d", round)), macOf(fmt.Sprint("m", round))
		ends := race(6, func(i int) (err error) {
			switch i % 3 {
			case 0:
				_, err = l.Register(t.Context(), "server", Announcement{Name: name, MAC: macOf(fmt.Sprint(round, i)), Model: "m1"})
			case 1:
				_, err = l.Register(t.Context(), "server", Announcement{Name: Name(fmt.Sprintf("x%d-%d", round, i)), MAC: mac, Model: "m1"})
			case 2:
				_, err = l.Create(t.Context(), people(6)[i], Virtual{Name: name, Model: "m1"}, nil)
			}
			return err
		})
		var won, fellow int
		for i, err := range ends {
			if err != nil {
				wantFault(t, err, fault.Failed)
			} else if i%3 == 1 {
				fellow++
			} else {
				won++
			}
		}
		if won != 1 || fellow != 1 {
			t.Errorf("the name went to %d, the address to %d", won, fellow)
		}
	}
	sound(t, l.Store)
}

// TestWhatWasConfirmedIsWhatIsDone changes the facts between the question and
// the answer.
func TestWhatWasConfirmedIsWhatIsDone(t *testing.T) {
	t.Parallel()
	must := func(_ any, err error) func(testing.TB) {
		return func(t testing.TB) { t.Helper(); ok(t, err) }
	}
	for name, between := range map[string]struct {
		do     func(t *testing.T, l testLab)
		asked  []string // again, with changed facts; nil when it is done
		owners []auth.Name
	}{
		"nothing": {func(*testing.T, testLab) {}, nil, []auth.Name{"dave", "dave", "dave"}},
		"one passed on": {func(t *testing.T, l testLab) {
			must(l.Acquire(t.Context(), "carol", Only("n1"), Remarks{}, consent.Agreement{Whoever: true}))(t)
		}, []string{"n1 carol", "n2 bob"}, []auth.Name{"carol", "bob", auth.Nobody}},
		"a free one was taken": {func(t *testing.T, l testLab) {
			must(l.Acquire(t.Context(), "carol", Only("n3"), Remarks{}, consent.Agreement{}))(t)
		}, []string{"n1 bob", "n2 bob", "n3 carol"}, []auth.Name{"bob", "bob", "carol"}},
		"one was given back": {func(t *testing.T, l testLab) {
			must(l.Release(t.Context(), "bob", Only("n2")))(t)
		}, []string{"n1 bob"}, []auth.Name{"bob", auth.Nobody, auth.Nobody}},
		"all were given back": {func(t *testing.T, l testLab) {
			must(l.Release(t.Context(), "bob", parse("my-nodes")))(t)
		}, nil, []auth.Name{"dave", "dave", "dave"}},
		"one was given back and taken again": {func(t *testing.T, l testLab) {
			must(l.Release(t.Context(), "bob", Only("n1")))(t)
			must(l.Acquire(t.Context(), "bob", Only("n1"), Remarks{}, consent.Agreement{}))(t)
		}, []string{"n1 bob", "n2 bob"}, []auth.Name{"bob", "bob", auth.Nobody}},
		"one boots another image of its owner": {func(t *testing.T, l testLab) {
			img := defaultOf("m1")
			img.Ref = ref("bob/other")
			l.image(t, img)
			must(l.SetImage(t.Context(), "bob", Only("n1"), "other", Remarks{}, consent.Agreement{}))(t)
		}, nil, []auth.Name{"dave", "dave", "dave"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, []auth.Name{"bob", "carol", "dave"}, "n1", "n2", "n3")
			must(l.Acquire(t.Context(), "bob", parse("n1,n2"), Remarks{}, consent.Agreement{}))(t)
			_, err := l.Acquire(t.Context(), "dave", parse("all-nodes"), Remarks{}, consent.Agreement{})
			shown := wantContest(t, err, false, "n1 bob", "n2 bob")
			between.do(t, l)

			result, err := l.Acquire(t.Context(), "dave", parse("all-nodes"), Remarks{}, consent.Agreement{Shown: shown.Nodes})
			if between.asked == nil {
				ok(t, err)
			} else {
				again := wantContest(t, err, true, between.asked...)
				equal(t, "owners after a refusal", l.owners(t, "n1", "n2", "n3"), between.owners...)
				if len(result.Changes) > 0 {
					t.Errorf("changes %v are told of", result.Changes)
				}
				_, err := l.Acquire(t.Context(), "dave", parse("all-nodes"), Remarks{}, consent.Agreement{Shown: again.Nodes})
				ok(t, err)
			}
			equal(t, "owners at last", l.owners(t, "n1", "n2", "n3"), "dave", "dave", "dave")
			sound(t, l.Store)
		})
	}
}

// TestNothingIsDoneWithoutConsent asks each command that would disturb others.
func TestNothingIsDoneWithoutConsent(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"}, "n1")
	_, err := l.Create(t.Context(), "bob", Virtual{Name: "v1", Model: "m1"}, nil)
	ok(t, err)
	_, err = l.Acquire(t.Context(), "bob", Only("n1"), Remarks{}, consent.Agreement{})
	ok(t, err)
	l.grid.take()
	before := rows(t, l.Store)
	for name, do := range map[string]func(n Name) error{
		"acquire": func(n Name) error {
			_, err := l.Acquire(t.Context(), "alice", Only(n), Remarks{}, consent.Agreement{})
			return err
		},
		"boot": func(n Name) error {
			_, err := l.SetImage(t.Context(), "alice", Only(n), "default", Remarks{}, consent.Agreement{})
			return err
		},
		"reserve": func(n Name) error {
			_, err := l.NodesWithConsent(t.Context(), "alice", Only(n), consent.Agreement{})
			return err
		},
		"rename": func(n Name) error { _, err := l.Rename(t.Context(), "alice", n, "x1", consent.Agreement{}); return err },
		"drop": func(n Name) error {
			_, err := l.drop(t.Context(), "alice", l.devicesOf(t.Context(), Only(n), "alice"), consent.Agreement{}, n == "v1")
			return err
		},
	} {
		for _, n := range []Name{"n1", "v1"} {
			if _, is := errors.AsType[*consent.Error](do(n)); !is {
				t.Errorf("%s of %s does not ask", name, n)
			}
		}
	}
	equal(t, "rows", rows(t, l.Store), before...)
	equal(t, "started", l.grid.take())
}

// rows are all that is in a store.
func rows(t testing.TB, s state.Store) (all []string) {
	t.Helper()
	ok(t, s.View(t.Context(), func(r state.Reader) error {
		for row, err := range r.Scan("", "") {
			ok(t, err)
			all = append(all, row.Key+"="+string(row.Value))
		}
		return nil
	}))
	return all
}
