package nodes

import (
	"fmt"
	"testing"

	"walt/auth"
	"walt/consent"
	"walt/ethernet"
	"walt/images"
	"walt/state"
)

// BenchmarkOwned asks for nodes by their owners in a lab of 10,000 nodes, half of
// them free and the others of 50 users, and takes some.
func BenchmarkOwned(b *testing.B) {
	l := newLab(b, []auth.Name{"bob"})
	def := defaultOf("m1")
	for i := 0; i < 10_000; i += 100 {
		_, err := l.Store.Update(b.Context(), func(tx state.Tx) error {
			for j := i; j < i+100; j++ {
				d := Device{Name: Name(fmt.Sprintf("n-%d", j)), MAC: ethernet.MAC(fmt.Sprintf("02:00:00:00:%02x:%02x", j>>8, j&255)), Kind: Node, Model: "m1", Image: def.Ref}
				if j%2 == 0 {
					d.Image = images.Ref{User: auth.Name(fmt.Sprintf("u%d", j%100)), Name: "i", Tag: "latest"}
				}
				if err := put(tx, d); err != nil {
					return err
				}
			}
			return nil
		})
		ok(b, err)
	}
	b.Run("mine", func(b *testing.B) {
		for b.Loop() {
			mine, err := inFull(l.Mine(b.Context(), "u2"))
			ok(b, err)
			if len(mine) != 100 {
				b.Fatalf("%d nodes", len(mine))
			}
		}
	})
	b.Run("free", func(b *testing.B) {
		for b.Loop() {
			free, err := inFull(l.Show(b.Context(), "bob", parse("free-nodes")))
			ok(b, err)
			if len(free) != 5000 {
				b.Fatalf("%d nodes", len(free))
			}
		}
	})
	b.Run("acquire any, release", func(b *testing.B) {
		for b.Loop() {
			_, err := l.AcquireAny(b.Context(), "bob", Some{N: 3, Model: "m1"}, Remarks{})
			ok(b, err)
			_, err = l.Release(b.Context(), "bob", parse("my-nodes"))
			ok(b, err)
		}
	})
	b.Run("acquire by name, release", func(b *testing.B) {
		for b.Loop() {
			_, err := l.Acquire(b.Context(), "bob", parse("n-1,n-3,n-5"), Remarks{}, consent.Agreement{})
			ok(b, err)
			_, err = l.Release(b.Context(), "bob", parse("n-1,n-3,n-5"))
			ok(b, err)
		}
	})
}
