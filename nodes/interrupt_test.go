package nodes

import (
	"testing"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
)

// TestInterrupted has a command done between what another one read and its
// commit, where what it must not overlook was not there to be read.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	pair := func(l testLab, t *testing.T) error { return l.Images.Obtain(t.Context(), "bob", "m2", nil) }
	for name, c := range map[string]struct {
		do, between func(testLab, *testing.T) error
		refused     bool // do, because of what came between
		bobs        []Name
	}{
		"a set, by a new node": {
			func(l testLab, t *testing.T) error {
				return errorOf(l.Acquire(t.Context(), "bob", parse("free-nodes"), Remarks{}, consent.Agreement{}))
			},
			func(l testLab, t *testing.T) error { l.node(t, "n3", "m1"); return nil },
			false,
			[]Name{"n1", "n2", "n3"},
		},
		"a set, by a node that is gone": {
			func(l testLab, t *testing.T) error {
				return errorOf(l.Acquire(t.Context(), "bob", parse("n*"), Remarks{}, consent.Agreement{}))
			},
			func(l testLab, t *testing.T) error {
				return errorOf(l.Forget(t.Context(), "carol", Only("n1"), consent.Agreement{}))
			},
			false,
			[]Name{"n2"},
		},
		"an arriving image, by a device": {
			pair, func(l testLab, t *testing.T) error { l.node(t, "n3", "m2"); return nil }, false, nil,
		},
		"a device, by its arriving image": {
			func(l testLab, t *testing.T) error { l.node(t, "n3", "m2"); return nil }, pair, false, nil,
		},
		"an overwritten image, by a node that boots it": {
			func(l testLab, t *testing.T) error {
				return errorOf3(l.clone(t.Context(), ref("carol/x"), ref("bob/mine"), true, consent.Agreement{Whoever: true}))
			},
			func(l testLab, t *testing.T) error {
				return errorOf(l.SetImage(t.Context(), "bob", Only("n1"), "mine", Remarks{}, consent.Agreement{}))
			},
			true,
			[]Name{"n1"},
		},
		"a node that boots an image, by its overwriting": {
			func(l testLab, t *testing.T) error {
				return errorOf(l.SetImage(t.Context(), "bob", Only("n1"), "mine", Remarks{}, consent.Agreement{}))
			},
			func(l testLab, t *testing.T) error {
				return errorOf3(l.clone(t.Context(), ref("carol/x"), ref("bob/mine"), true, consent.Agreement{}))
			},
			true, nil,
		},
		"a user who is removed, by a new image": {
			func(l testLab, t *testing.T) error {
				return errorOf(l.RemoveUser(t.Context(), "alice", "bob", Legacy{Force: true}))
			},
			func(l testLab, t *testing.T) error {
				return errorOf3(l.clone(t.Context(), images.DefaultRef("m1"), ref("bob/new"), false, consent.Agreement{}))
			},
			false, nil,
		},
		"a user who is removed, by the removal of the heir": {
			func(l testLab, t *testing.T) error {
				return errorOf(l.RemoveUser(t.Context(), "alice", "bob", Legacy{Heir: "carol"}))
			},
			func(l testLab, t *testing.T) error {
				return errorOf(l.RemoveUser(t.Context(), "alice", "carol", Legacy{Force: true}))
			},
			true, nil,
		},
		"an heir who is removed, by the inheritance": {
			func(l testLab, t *testing.T) error {
				return errorOf(l.RemoveUser(t.Context(), "alice", "carol", Legacy{Force: true}))
			},
			func(l testLab, t *testing.T) error {
				return errorOf(l.RemoveUser(t.Context(), "alice", "bob", Legacy{Heir: "carol"}))
			},
			false, nil,
		},
		"a user who takes a node, by the removal": {
			func(l testLab, t *testing.T) error {
				return errorOf(l.Acquire(t.Context(), "bob", Only("n1"), Remarks{}, consent.Agreement{}))
			},
			func(l testLab, t *testing.T) error {
				return errorOf(l.RemoveUser(t.Context(), "alice", "bob", Legacy{Force: true}))
			},
			true, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, []auth.Name{"bob", "carol"}, "n1", "n2")
			mine, other := defaultOf("m1"), defaultOf("m2")
			mine.Ref, other.Ref = ref("bob/mine"), ref("carol/x")
			l.image(t, mine)
			l.image(t, other)
			var between error
			l.Store = &rough{Store: l.Store, between: func() { between = c.between(l, t) }}
			err := c.do(l, t)
			ok(t, between)
			if c.refused {
				wantFault(t, err, fault.Failed)
			} else {
				ok(t, err)
			}
			all, err := inFull(l.Mine(t.Context(), "bob"))
			ok(t, err)
			var bobs []Name
			for _, n := range all {
				bobs = append(bobs, n.Name)
			}
			equal(t, "bob's nodes", bobs, c.bobs...)
			devs, err := inFull(l.AllDevices(t.Context()))
			ok(t, err)
			for _, d := range devs {
				if d.Kind != Node {
					t.Errorf("%s is left waiting", d.Name)
				}
			}
			sound(t, l.Store)
		})
	}
}
