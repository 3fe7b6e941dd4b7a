package nodes

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/state"
)

// fill makes a name as long as it may be.
func fill(s string, n int) string { return s + strings.Repeat("x", n-len(s)) }

// crowded is a lab with so many nodes on the ports of a switch, each of another
// owner and with all that its record may have, as long as it may be. bob wants
// them.
func crowded(t *testing.T, n int) (l testLab, bob auth.Name) {
	t.Helper()
	bob = auth.Name(fill("bob", 32))
	l, _ = wired(t, 0, []auth.Name{bob})
	model := images.Model(fill("m", 54))
	l.image(t, images.Image{Ref: images.DefaultRef(model), Digest: sum("one"), Models: []images.Model{model}})
	retries := 100
	for i := range n {
		name := Name(fill(fmt.Sprintf("n%d", i), 63))
		d := l.node(t, name, model)
		l.configure(t, name, "switch=sw-1", "port="+strconv.Itoa(60_000-i))
		owner := auth.Name(fill(fmt.Sprintf("u%d", i), 32))
		img := images.Image{Ref: images.Ref{User: owner, Name: fill("i", 63), Tag: fill("t", 63)}, Digest: sum("one"), Models: []images.Model{model}}
		l.image(t, img)
		_, err := l.Store.Update(t.Context(), func(tx state.Tx) (err error) {
			if d, err = get(tx, name); err != nil {
				return err
			}
			was := d
			d.Image, d.Booted, d.Digest = img.Ref, img.Ref, img.Digest
			d.Settings = Settings{BootTimeout: 1<<62 - 1, BootRetries: &retries, BootDelay: 1<<62 - 1, RAM: 1 << 20, Cores: 256}
			if err := reindex(tx, was, d); err != nil {
				return err
			}
			return devices.Put(tx, string(name), d)
		})
		ok(t, err)
	}
	return l, bob
}

// TestMostNodes takes as many nodes from their owners as a command always can,
// and then more: that changes nothing.
func TestMostNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		most := mostNodes(newLab(t, nil).Store.Limit())
		l, bob := crowded(t, most)
		result, err := l.Acquire(t.Context(), bob, parse("all-nodes"), consent.Agreement{Whoever: true})
		ok(t, err)
		mine, err := l.Mine(t.Context(), bob)
		ok(t, err)
		if len(result.Changes) != most || len(mine) != most {
			t.Errorf("%d nodes changed hands, %d are bob's, want %d", len(result.Changes), len(mine), most)
		}

		l, bob = crowded(t, most+most/4)
		before := rowsOf(t, l.Store)
		_, err = l.Acquire(t.Context(), bob, parse("all-nodes"), consent.Agreement{Whoever: true})
		want := fmt.Sprintf("too many nodes for one command (at most %d); nothing changed", most)
		if f := fault.As(err); f == nil || f.Msg != want {
			t.Errorf("got %v, want %s", err, want)
		}
		if !slices.Equal(rowsOf(t, l.Store), before) {
			t.Error("rows were changed")
		}
	})
}

// TestThousandNodes are taken from somebody at once: names of the usual length
// leave room for more than what a command always can.
func TestThousandNodes(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob", "carol"})
	for i := range 1000 {
		l.node(t, Name(fmt.Sprintf("rpi-%d", i)), "m1")
	}
	for _, user := range []auth.Name{"bob", "carol"} {
		_, err := l.Acquire(t.Context(), user, parse("all-nodes"), consent.Agreement{Whoever: true})
		ok(t, err)
		mine, err := l.Mine(t.Context(), user)
		ok(t, err)
		if len(mine) != 1000 {
			t.Errorf("%d nodes are %s's", len(mine), user)
		}
	}
}

// rowsOf are all rows of a store.
func rowsOf(t *testing.T, s state.Store) []string {
	t.Helper()
	all, err := state.Read(t.Context(), s, func(r state.Reader) (all []string, err error) {
		for row, err := range r.Scan("", "") {
			if err != nil {
				return nil, err
			}
			all = append(all, row.Key+"="+string(row.Value))
		}
		return all, nil
	})
	ok(t, err)
	return all
}
