package power_test

import (
	"testing"
	"testing/synctest"
	"time"

	"walt/fault"
	"walt/power"
	"walt/power/driver"
)

// Orders that nobody could carry out are, as soon as somebody can: they do not wait for the next
// try, which may be minutes away.
func TestOrdersDoNotWaitForADriverThatIsThere(t *testing.T) {
	t.Parallel()
	for what, comes := range map[string]func(*testing.T, *room, *plugs){
		"the driver is in the file again": func(t *testing.T, r *room, p *plugs) {
			ok(t, r.SetDrivers([]driver.Driver{{Name: "rack", Means: p}}, nil))
		},
		"power= tells its new name": func(t *testing.T, r *room, p *plugs) {
			ok(t, r.SetDrivers([]driver.Driver{{Name: "shelf", Means: p}}, nil))
			time.Sleep(20 * time.Minute)
			ok(t, r.feed(t, "n1", "shelf:n1a+shelf:n1b"))
		},
		"its host is corrected while it is asked in vain": func(t *testing.T, r *room, p *plugs) {
			ok(t, r.SetDrivers([]driver.Driver{{Name: "rack", Means: &plugs{off: map[string]bool{}, lost: true}}}, nil))
			time.Sleep(20*time.Minute + 10*time.Second)
			ok(t, r.SetDrivers([]driver.Driver{{Name: "rack", Means: p}}, nil))
		},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRoom(t, 1)
				p := r.newPlugs(t, "n1")
				stop := r.run(t)
				ok(t, r.SetDrivers(nil, nil))
				r.orderOff(t, "n1")
				time.Sleep(time.Hour)
				comes(t, r, p)
				time.Sleep(40 * time.Second)
				stop()
				if off := r.off(t, "n1"); p.dark() != 2 || off == (power.Off{}) {
					t.Errorf("%+v, %v", off, p.off)
				}
			})
		})
	}
}

func TestNodesOfNoDriverAreTold(t *testing.T) {
	t.Parallel()
	r := newRoom(t, 3)
	p := r.newPlugs(t, "n1", "n2")
	ok(t, r.feed(t, "n3", "none"))
	of := func(all ...driver.Driver) (nodes, why string) {
		t.Helper()
		ok(t, r.SetDrivers(all, nil))
		ns, reasons, err := r.Unswitchable(t.Context())
		ok(t, err)
		return fault.Few(ns), fault.Few(reasons)
	}
	if nodes, why := of(driver.Driver{Name: "rack", Means: p}); nodes != "" || why != "" {
		t.Errorf("%s: %s", nodes, why)
	}
	if nodes, why := of(driver.Driver{Name: "shelf", Means: p}); nodes != "n1, n2" || why != "no power driver rack in the server's file" {
		t.Errorf("%s: %s", nodes, why)
	}
}
