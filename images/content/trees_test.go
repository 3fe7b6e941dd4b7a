package content

import (
	"fmt"
	"slices"
	"sync"
	"testing"
)

func TestOneBuildForAll(t *testing.T) {
	t.Parallel()
	l := newStore(t)
	digest := keep(t, l, zip(t, archive(t, regular("a", "1"))))
	var wg sync.WaitGroup
	trees := make([]*Tree, 8)
	for i := range trees {
		wg.Go(func() {
			var err error
			if trees[i], err = l.Tree(t.Context(), digest); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, tree := range trees {
		if tree != trees[0] {
			t.Error("the tree was built more than once")
		}
	}
}

func TestTreesAreDroppedWhenTheyTakeTooMuch(t *testing.T) {
	t.Parallel()
	var ts trees
	for i := range 5 {
		ts.keep(builtTree{Digest(fmt.Sprint(i)), &Tree{weight: treesLimit / 3}})
		ts.take("0")
	}
	var left []string
	for _, k := range ts.recent {
		left = append(left, string(k.digest))
	}
	if want := []string{"3", "4", "0"}; !slices.Equal(left, want) {
		t.Errorf("kept %v, want %v", left, want)
	}
	ts.keep(builtTree{"huge", &Tree{weight: 2 * treesLimit}})
	if len(ts.recent) != 1 || ts.recent[0].digest != "huge" {
		t.Errorf("kept %v, want the last one alone", ts.recent)
	}
}
