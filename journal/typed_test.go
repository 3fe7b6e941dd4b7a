package journal

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"walt/state"
)

func (j *Journal) lines(t testing.TB, user string) []string {
	t.Helper()
	lines, err := j.Lines(t.Context(), user)
	ok(t, err)
	return lines
}

func (j *Journal) typeIn(t testing.TB, lines ...string) {
	t.Helper()
	for _, line := range lines {
		ok(t, j.Append(t.Context(), "bob", line))
	}
}

func TestTypedLines(t *testing.T) {
	t.Parallel()
	j := newJournal(t)
	want(t, "at first", j.lines(t, "bob"))
	j.typeIn(t, "a", "b", "b", "a", strings.Repeat("x", maxTypedLine+1))
	want(t, "typed", j.lines(t, "bob"), "a", "b", "a")
	want(t, "typed by somebody else", j.lines(t, "bo"))
}

func TestTypedLinesAreBounded(t *testing.T) {
	t.Parallel()
	j := newJournal(t)
	var all []string
	for i := range maxTyped + 3 {
		all = append(all, fmt.Sprint(i))
	}
	j.typeIn(t, all...)
	want(t, "many short lines", j.lines(t, "bob"), all[3:]...)

	// Each of these bytes takes six in the store, whose rows are bounded too.
	long := []string{strings.Repeat("<", maxTypedLine), strings.Repeat("&", maxTypedLine)}
	full := newest(slices.Repeat(long, maxTyped))
	ok(t, j.store.Update(t.Context(), func(tx state.Tx) error { return typed.Put(tx, "bob", full) }))
	j.typeIn(t, long...)
	want(t, "long lines", j.lines(t, "bob"), full...)
}

func TestTypedInSeveralShells(t *testing.T) {
	t.Parallel()
	j := newJournal(t)
	var shells sync.WaitGroup
	for i := range 20 {
		shells.Go(func() { j.typeIn(t, fmt.Sprint(i)) })
	}
	shells.Wait()
	if n := len(j.lines(t, "bob")); n != 20 {
		t.Errorf("%d of 20 lines are kept", n)
	}
}
