package content

import (
	"archive/tar"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestReadDirAgain reads a directory again and again, by several at once: it is ordered
// once, and what one does with the result is not seen by the others.
func TestReadDirAgain(t *testing.T) { // alone, since it counts what is allocated
	const n = 1000
	var layer []*tar.Header
	for i := range n {
		layer = append(layer, regular(fmt.Sprintf("many/%04d", n-i), ""))
	}
	tooLong := strings.Repeat("n", elementLimit+1)
	layer = append(layer, regular("odd/b", ""), regular("odd/"+tooLong, ""), regular("odd/a", ""))
	tree := files(t, newStore(t), archive(t, layer...))
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			all, err := tree.ReadDir("many")
			if err != nil || len(all) != n || !slices.IsSortedFunc(all, byEntryName) || all[7].Type() != 0 {
				t.Errorf("%d entries, %v", len(all), err)
			}
			slices.Reverse(all)
		})
	}
	readers.Wait()
	allocated := testing.AllocsPerRun(10, func() {
		if _, err := fs.ReadDir(tree, "many"); err != nil {
			t.Error(err)
		}
	})
	if allocated > 10 {
		t.Errorf("reading %d entries again makes %v things", n, allocated)
	}
	all, err := tree.ReadDir("odd")
	if err != nil || len(all) != 3 || all[0].Name() != "a" || all[2].Name() != tooLong {
		t.Errorf("a directory with a name that is too long for Linux: %v, %v", all, err)
	}
}

func byEntryName(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) }
