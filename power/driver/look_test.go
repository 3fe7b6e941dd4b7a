package driver

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// A device that is silent, or slow, holds nobody up who asks for the states of all.
func TestLook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		racks := []*rack{{}, {silent: true}, {slow: 3 * time.Second}, {mute: true}, {refuse: "1"}}
		d := rig(t, racks...)
		racks[0].is["1"] = Off
		racks[4].is["2"] = Unknown
		outlets := map[Outlet]string{{Driver: "gone", Port: "1"}: "n"}
		for i := range racks {
			for port := range 20 {
				outlets[Outlet{Driver: fmt.Sprintf("rack%d", i+1), Port: fmt.Sprint(port)}] = "n"
			}
		}
		begun := time.Now()
		const lookLimit = 4 * time.Second
		found := d.Look(t.Context(), outlets, lookLimit)
		if took := time.Since(begun); took > lookLimit || len(found) != len(outlets) {
			t.Errorf("%d of %d are known after %v", len(found), len(outlets), took)
		}
		of := func(rack, port int) Reading {
			return found[Outlet{Driver: fmt.Sprintf("rack%d", rack), Port: fmt.Sprint(port)}]
		}
		for what, c := range map[string][2]Reading{
			"off":          {of(1, 1), {State: Off}},
			"on":           {of(1, 2), {State: On}},
			"mute":         {of(4, 1), {State: Unknown}},
			"refused":      {of(5, 1), unread("it refuses 1")},
			"on its way":   {of(5, 2), unread("it is on its way")},
			"after that":   {of(5, 3), {State: On}},
			"of no driver": {found[Outlet{Driver: "gone", Port: "1"}], {Unknown, "no power driver gone in the server's file", "drivers that it declares: rack1, rack2, rack3, rack4, rack5"}},
		} {
			if c[0] != c[1] {
				t.Errorf("%s: %+v, want %+v", what, c[0], c[1])
			}
		}
		words := map[Reading]int{}
		for port := range 20 {
			words[of(2, port)]++
			words[of(3, port)]++
		}
		for want, n := range map[Reading]int{
			{State: On}:                              1,
			unread("rack2 did not answer within 4s"): 1,
			unread("rack3 did not answer within 4s"): 1,
			unread("it was not asked: rack2 takes longer than 4s for what was asked before"): 19,
			unread("it was not asked: rack3 takes longer than 4s for what was asked before"): 18,
		} {
			if words[want] != n {
				t.Errorf("%d are %+v, want %d; all: %v", words[want], want, n, words)
			}
		}
		if n := len(racks[1].asked); n != 1 {
			t.Errorf("who is silent was asked %d times", n)
		}
	})
}

// A device that does not answer at all is asked for one of its outlets, and that is said of all.
func TestLookAtSilentDevice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &rack{silent: true}
		d := rig(t, r, &rack{slow: 9 * time.Second})
		begun := time.Now()
		outlets := map[Outlet]string{{Driver: "rack1", Port: "1"}: "", {Driver: "rack1", Port: "2"}: "", {Driver: "rack2", Port: "1"}: ""}
		found := d.Look(t.Context(), outlets, time.Minute)
		if took := time.Since(begun); took != 10*time.Second || len(r.asked) != 1 {
			t.Errorf("after %v, %v", took, r.asked)
		}
		for o := range outlets {
			want := Reading{Unknown, "rack1 did not answer within 10s", "see that it is on and can be reached from the server"}
			if o.Driver == "rack2" {
				want = Reading{State: On}
			}
			if found[o] != want {
				t.Errorf("%s: %+v", o, found[o])
			}
		}
	})
}
