package images

import (
	"testing"

	"walt/state"
)

// TestOfNewImages puts an image of bob while a transaction relies on having seen
// all of them, as the removal of bob does: it runs again and sees that one too.
func TestOfNewImages(t *testing.T) {
	t.Parallel()
	l, _, _ := inLab(t)
	var seen []int
	update(t, l, func(tx state.Tx) error {
		all, err := Of(tx, "bob")
		if err != nil {
			return err
		}
		if seen = append(seen, len(all)); len(seen) == 1 {
			update(t, l, func(tx state.Tx) error { return Put(tx, Image{Ref: mustRef(t, "bob/new")}) })
		}
		return Put(tx, Image{Ref: mustRef(t, "carol/old")})
	})
	if len(seen) != 2 || seen[1] != 1 {
		t.Errorf("bob's images: %v", seen)
	}
}
