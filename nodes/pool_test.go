package nodes

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"walt/images"
)

// Parts are what a sorted list is that the same was done with, and who holds some keeps
// them as they were.
func TestParts(t *testing.T) {
	t.Parallel()
	const most = 5 * partSize
	random := rand.New(rand.NewPCG(1, 2))
	var all []*Device
	for i := range most {
		all = append(all, &Device{Name: Name(fmt.Sprintf("n-%d", i)), Model: images.Model(fmt.Sprint("m", i%2)), Since: time.Unix(0, 0).Add(time.Duration(random.IntN(most/4)) * time.Second)})
	}
	sorted := slices.SortedFunc(slices.Values(all[:most/2]), longestAgo)
	p := partsOf(sorted)
	for round := range 20 * most {
		d := all[random.IntN(len(all))]
		before, was := p, slices.Clone(sorted)
		if at, there := slices.BinarySearchFunc(sorted, d, longestAgo); there && (round/most)%2 == 0 {
			p, sorted = p.without(d), slices.Delete(sorted, at, at+1)
		} else if !there && (round/most)%2 == 1 {
			p, sorted = p.with(d), slices.Insert(sorted, at, d)
		} else if !there {
			p = p.without(d)
		}
		if round%97 > 0 {
			continue
		}
		if !slices.Equal(slices.Collect(p.which(nil)), sorted) || !slices.Equal(slices.Collect(before.which(nil)), was) {
			t.Fatalf("round %d: they differ", round)
		}
		for _, part := range p {
			if len(part) == 0 || len(part) >= 2*partSize {
				t.Fatalf("round %d: a part of %d", round, len(part))
			}
		}
	}
	odd := 0
	for d := range p.which(ofModel("m1")) {
		if odd++; d.Model != "m1" {
			t.Errorf("%s is of %s", d.Name, d.Model)
		}
	}
	if odd == 0 {
		t.Error("none is of m1")
	}
}
