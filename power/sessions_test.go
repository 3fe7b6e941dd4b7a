package power_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"walt/fault"
	"walt/power"
	"walt/power/snmp"
	"walt/state"
)

// Who waits for a silent switch learns it from the first one that asked in vain.
func TestSilenceIsShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const nodes = 40
		r := newRoom(t, nodes)
		r.rig.Refuse("one:161", errSilent)
		r.rig.Patience = 7 * time.Second
		var ports []power.Port
		r.update(t, func(tx state.Tx) error {
			ports = nil
			for i := range nodes {
				port, err := r.PowerCycle(tx, macOf(fmt.Sprintf("n%d", i+1)))
				if err != nil {
					return err
				}
				ports = append(ports, port)
			}
			return nil
		})
		begun := time.Now()
		var work sync.WaitGroup
		for _, port := range ports {
			work.Go(func() {
				if err := r.Execute(t.Context(), port); !errors.Is(err, errSilent) {
					t.Errorf("port %d: %v", port.Number, err)
				}
			})
		}
		work.Wait()
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("that took %v", took)
		}
		ok(t, r.Store.View(t.Context(), func(reader state.Reader) error {
			c, err := r.Contact(reader, macOf("sw1"))
			if c.Why != errSilent.Msg {
				t.Errorf("the switch: %+v", c)
			}
			return err
		}))
	})
}

// A refusal that came late is of one port alone, and the switch answers.
func TestLateRefusalIsNoSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 1)
		refusal := snmp.Refusal{Err: fault.Failedf("port 1 has no PoE")}
		r.rig.Refuse("one:161", refusal)
		r.rig.Patience = 7 * time.Second
		var port power.Port
		r.update(t, func(tx state.Tx) (err error) {
			port, err = r.PowerCycle(tx, macOf("n1"))
			return err
		})
		if err := r.Execute(t.Context(), port); !errors.Is(err, refusal) {
			t.Errorf("got %v", err)
		}
		ok(t, r.Store.View(t.Context(), func(reader state.Reader) error {
			c, err := r.Contact(reader, macOf("sw1"))
			if c.Why != "" {
				t.Errorf("the switch: %+v", c)
			}
			return err
		}))
	})
}
