package images

import (
	"context"
	"slices"
	"sync"
)

// treesLimit is how many bytes of memory, roughly, trees that were used lately
// may take together; the last one stays whatever its size.
const treesLimit = 64 << 20

// trees keeps the trees that were used lately.
type trees struct {
	builds shared[*Tree]

	mu     sync.Mutex
	recent []kept // the last used one is the last
}

type kept struct {
	digest string
	tree   *Tree
}

// get returns the tree of the digest, built if it is not kept.
func (ts *trees) get(ctx context.Context, digest string, build func(context.Context) (*Tree, error)) (*Tree, error) {
	if t := ts.take(digest); t != nil {
		return t, nil
	}
	return ts.builds.do(ctx, digest, func(ctx context.Context) (*Tree, error) {
		if t := ts.take(digest); t != nil { // another build ended since
			return t, nil
		}
		t, err := build(ctx)
		if err == nil {
			ts.keep(kept{digest, t})
		}
		return t, err
	})
}

func (ts *trees) take(digest string) *Tree {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	i := slices.IndexFunc(ts.recent, func(k kept) bool { return k.digest == digest })
	if i < 0 {
		return nil
	}
	k := ts.recent[i]
	ts.recent = append(slices.Delete(ts.recent, i, i+1), k)
	return k.tree
}

func (ts *trees) keep(k kept) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.recent = append(ts.recent, k)
	sum := 0
	for _, k := range ts.recent {
		sum += k.tree.weight
	}
	for sum > treesLimit && len(ts.recent) > 1 {
		sum -= ts.recent[0].tree.weight
		ts.recent = slices.Delete(ts.recent, 0, 1)
	}
}
