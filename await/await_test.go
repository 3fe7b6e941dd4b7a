package await

import (
	"context"
	"slices"
	"testing"
)

func TestBegin(t *testing.T) {
	var got []string
	ctx := Watched(t.Context(), func(node, what string) func() {
		got = append(got, node+" "+what)
		return func() { got = append(got, node+" no more "+what) }
	})
	end := Begin(context.WithoutCancel(ctx), "rpi-1", "off for %d s", 5)
	end()
	Begin(t.Context(), "rpi-2", "nobody watches")()
	if want := []string{"rpi-1 off for 5 s", "rpi-1 no more off for 5 s"}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}
