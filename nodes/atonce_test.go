package nodes

import (
	"context"
	"slices"
	"testing"
)

// A node may come up between two looks at it: each is restarted once all the same.
func TestAtOnceRestartsEachOnce(t *testing.T) {
	t.Parallel()
	l := &Lab{}
	ds := []Device{{Name: "a"}, {Name: "b"}, {Name: "c"}}
	looks := 0
	quick := func(Device) bool { looks++; return looks > 2 }
	var restarted []Name
	restart := func(_ context.Context, d Device) Reboot { return Reboot{Outcome: RebootOK} }
	ok(t, l.atOnce(t.Context(), ds, quick, restart, func(d Device, _ Reboot) { restarted = append(restarted, d.Name) }))
	if slices.Sort(restarted); !slices.Equal(restarted, []Name{"a", "b", "c"}) {
		t.Errorf("restarted %v", restarted)
	}
}
