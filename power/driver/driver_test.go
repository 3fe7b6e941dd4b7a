package driver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"walt/fault"
)

// rack is a device with outlets that are on unless it was told otherwise.
type rack struct {
	mu     sync.Mutex
	is     map[string]State // of ports; On where nothing is said
	asked  []string         // requests, in order
	busy   int
	slow   time.Duration // of each request
	shows  time.Duration // until a switched outlet shows it
	lies   bool          // it answers, and does nothing
	silent bool
	gone   bool   // nobody is there, as the network says after a while
	refuse string // the port of which it refuses everything
	blind  bool   // it fails to tell states
	mute   bool   // it has no status
	cycles bool   // it can cycle by itself
	onAt   []time.Time
	closed atomic.Bool
}

func (r *rack) request(ctx context.Context, what string, t Target) error {
	r.mu.Lock()
	r.asked = append(r.asked, what+" "+t.Port)
	if r.busy++; r.busy > 1 {
		panic("asked two things at a time")
	}
	r.mu.Unlock()
	defer func() { r.mu.Lock(); r.busy--; r.mu.Unlock() }()
	wait := r.slow
	r.mu.Lock()
	if r.silent {
		wait = time.Hour
	}
	r.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
	}
	if r.gone {
		return Silent(fault.Failedf("nobody is there"))
	}
	if t.Port == r.refuse {
		return Refusal{fault.Failedf("it refuses %s", t.Port)}
	}
	return nil
}

func (r *rack) Status(ctx context.Context, t Target) (State, error) {
	if r.mute {
		return Unknown, ErrNotSupported
	}
	if err := r.request(ctx, "status", t); err != nil {
		return Unknown, err
	}
	if r.blind {
		return Unknown, fault.Failedf("its page of states is broken")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, set := r.is[t.Port]; set {
		return s, nil
	}
	return On, nil
}

func (r *rack) Switch(ctx context.Context, t Target, on bool) error {
	if on {
		r.onAt = append(r.onAt, time.Now())
	}
	if err := r.request(ctx, string(stateOf(on)), t); err != nil || r.lies {
		return err
	}
	time.AfterFunc(r.shows, func() { r.mu.Lock(); r.is[t.Port] = stateOf(on); r.mu.Unlock() })
	return nil
}

func (r *rack) Cycle(ctx context.Context, t Target, _ time.Duration) error {
	if !r.cycles {
		return ErrNotSupported
	}
	return r.request(ctx, "cycle", t)
}

func (r *rack) Close() error { r.closed.Store(true); return nil }

func rig(t *testing.T, racks ...*rack) *Drivers {
	d := New()
	var all []Driver
	for i, r := range racks {
		r.is = map[string]State{}
		all = append(all, Driver{Name: fmt.Sprintf("rack%d", i+1), Means: r})
	}
	if err := d.Set(all, mustSupply(t, "rack1:99")); err != nil {
		t.Fatal(err)
	}
	return d
}

func mustSupply(t *testing.T, s string) Supply {
	t.Helper()
	all, err := ParseSupply(s)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func feed(t *testing.T, s string) Feed {
	t.Helper()
	return Feed{Supply: mustSupply(t, s), Node: "n"}
}

func TestParseSupply(t *testing.T) {
	for _, good := range []string{"rack1:7", "bmc@10.9.1.7", "plugs@10.9.2.4:0", "rack1:7+rack1:8", "bmc@[fd00::1]", "bmc@[fd00::1]:623", "usb:1-1.4:2", "a@bmc-3.lab.example"} {
		if s, err := ParseSupply(good); err != nil || s.String() != good {
			t.Errorf("%s is %s, %v", good, s, err)
		}
	}
	for _, bad := range []string{"", ":", "rack1:", "@", "a@", "a@:7", "a@h:", "a:7+", "+a:7", "a:7+a:7", "Rack:7", "a:7 ", "a:-x", "a:../x", "a:$(id)", "a@[::1", "a@[::1]x", "a@[::1]:", "a@-h", "a:" + strings.Repeat("7", 65), strings.Repeat("a:1+", 8) + "a:2", "a@fd00::1%x:7:"} {
		if s, err := ParseSupply(bad); err == nil {
			t.Errorf("%q is %v", bad, s)
		}
	}
}

// Who mistypes an outlet is told what it is instead.
func TestMistypedOutlets(t *testing.T) {
	for typed, want := range map[string]string{
		"Rack1:7":          "did you mean rack1:7?",
		"PLUGS@10.0.0.1:0": "did you mean plugs@10.0.0.1:0?",
		"WOL":              "did you mean wol?",
		"a:7,a:8":          "several are joined by +",
		"wol+a:7":          "wol is no outlet of a driver",
		"a:7+poe":          "poe is no outlet of a driver",
		"none+none":        "none is no outlet of a driver",
	} {
		if _, err := ParseSupply(typed); err == nil || !strings.Contains(fault.Line(err), want) {
			t.Errorf("%s: %v", typed, err)
		}
	}
}

func TestDeviceIsReadBack(t *testing.T) {
	for what, r := range map[string]*rack{"quick": {}, "slow": {slow: 3 * time.Second, shows: 15 * time.Second}} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := rig(t, r)
				s := feed(t, "rack1:7")
				for _, on := range []bool{false, true} {
					begun := time.Now()
					if err := d.Switch(t.Context(), s, on); err != nil {
						t.Fatal(err)
					}
					if is, err := d.Status(t.Context(), s); err != nil || is != stateOf(on) || time.Since(begun) < r.shows {
						t.Errorf("after %v it is %s, %v, want %s", time.Since(begun), is, err, stateOf(on))
					}
				}
			})
		})
	}
}

func TestDeviceThatLies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := rig(t, &rack{lies: true})
		err := d.Switch(t.Context(), feed(t, "rack1:7"), false)
		if want := "rack1:7 was told to be off, and says 20s later that it is on"; err == nil || fault.Reason(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	})
}

func TestSilentDeviceIsAskedThreeTimes(t *testing.T) {
	for want, r := range map[string]*rack{"rack1 did not answer within 10s": {silent: true}, "nobody is there": {gone: true, slow: 3 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			d := rig(t, r)
			begun := time.Now()
			var all sync.WaitGroup
			for i := range 20 { // who waits for the same device is told at once
				all.Go(func() {
					if err := d.Switch(t.Context(), feed(t, fmt.Sprint("rack1:", i)), true); err == nil || fault.Reason(err) != want {
						t.Errorf("%v, want %s", err, want)
					}
				})
			}
			all.Wait()
			if took, asked := time.Since(begun), len(r.asked); took > 35*time.Second || asked != 3 {
				t.Errorf("20 outlets took %v, and the device was asked %d times", took, asked)
			}
		})
	}
}

func TestRefusalIsNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rack{refuse: "7"}
		d := rig(t, r)
		if err := d.Switch(t.Context(), feed(t, "rack1:7"), true); err == nil || fault.Reason(err) != "it refuses 7" || strings.Join(r.asked, ",") != "status 7,on 7" {
			t.Errorf("%v, asked %q", err, r.asked)
		}
	})
}

func TestOffGivesBackWhatWasCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, bad := &rack{}, &rack{lies: true}
		d := rig(t, good, bad)
		if err := d.Switch(t.Context(), feed(t, "rack1:1+rack2:2"), false); err == nil {
			t.Fatal("it lies, and nobody says so")
		}
		if got := strings.Join(good.asked, ","); !strings.Contains(got, "off 1") || good.is["1"] != On {
			t.Errorf("asked %s, left %v", got, good.is)
		}
	})
}

// Nothing is cut while the device of another outlet is silent: it would be given back at
// once, and cut again with each try.
func TestNothingIsCutBesideSilentDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := &rack{}
		d := rig(t, good, &rack{silent: true})
		f := feed(t, "rack1:1+rack2:2")
		for what, err := range map[string]error{"off": d.Switch(t.Context(), f, false), "cycle": d.Cycle(t.Context(), f, time.Second)} {
			if want := "rack2 did not answer within 10s"; !StaysOn(err) || fault.Reason(err) != want {
				t.Errorf("%s: %v, want %s", what, err, want)
			}
		}
		if got := strings.Join(good.asked, ","); strings.Contains(got, "off") {
			t.Errorf("asked %s", got)
		}
	})
}

// Who needs a node has it switched on also by a device that fails to tell states.
func TestOnIsToldWithoutState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rack{}
		d := rig(t, r)
		f := feed(t, "rack1:1")
		if err := d.Switch(t.Context(), f, false); err != nil {
			t.Fatal(err)
		}
		r.blind = true
		if err := d.Switch(t.Context(), f, true); err == nil || fault.Reason(err) != "its page of states is broken" {
			t.Error(err)
		}
		if r.is["1"] != On {
			t.Errorf("it is %s", r.is["1"])
		}
		if err := d.Switch(t.Context(), f, false); err == nil || r.is["1"] != On {
			t.Errorf("%v, and it is %s", err, r.is["1"])
		}
	})
}

func TestCycle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		itself, pieces := &rack{cycles: true}, &rack{}
		d := rig(t, itself, pieces)
		if err := d.Cycle(t.Context(), feed(t, "rack1:1"), 5*time.Second); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(itself.asked, ","); got != "status 1,cycle 1,status 1" {
			t.Errorf("asked %s", got)
		}
		begun := time.Now()
		if err := d.Cycle(t.Context(), feed(t, "rack1:2+rack2:2"), 5*time.Second); err != nil || time.Since(begun) < 5*time.Second {
			t.Fatalf("%v after %v", err, time.Since(begun))
		}
		if got := strings.Join(pieces.asked, ","); !strings.Contains(got, "off 2") || pieces.is["2"] != On || itself.is["2"] != On {
			t.Errorf("asked %s, left %v, %v", got, pieces.is, itself.is)
		}
	})
}

func TestCycleThatIsCutShortEndsWithPower(t *testing.T) {
	for at := 500 * time.Millisecond; at < 12*time.Second; at += 500 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			r := &rack{slow: time.Second}
			d := rig(t, r)
			ctx, cancel := context.WithTimeout(t.Context(), at)
			defer cancel()
			err := d.Cycle(ctx, feed(t, "rack1:1"), 5*time.Second)
			if s, set := r.is["1"]; set && s != On {
				t.Errorf("cut short after %v (%v) it is %s", at, err, s)
			}
		})
	}
}

func TestMuteDeviceIsBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rack{mute: true}
		d := rig(t, r)
		s := feed(t, "rack1:1")
		if err := d.Switch(t.Context(), s, false); err != nil {
			t.Fatal(err)
		}
		if is, err := d.Status(t.Context(), s); is != Unknown || err != nil {
			t.Errorf("it is %s, %v", is, err)
		}
	})
}

func TestSwitchingOnIsStaggered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		racks := make([]*rack, 10)
		for i := range racks {
			racks[i] = &rack{}
		}
		d := rig(t, racks...)
		switchAll := func(on bool) {
			var all sync.WaitGroup
			for i := range 200 {
				s := feed(t, fmt.Sprintf("rack%d:%d", i%10+1, i))
				all.Go(func() {
					if err := d.Switch(t.Context(), s, on); i != 99 && err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
		}
		switchAll(false)
		switchAll(true)
		var last time.Time
		var begun, ended []time.Time
		for _, r := range racks {
			begun = append(begun, r.onAt...)
		}
		for _, at := range begun {
			for _, other := range ended {
				if gap := at.Sub(other).Abs(); gap < staggered {
					t.Fatalf("two outlets within %v", gap)
				}
			}
			ended = append(ended, at)
			if at.After(last) {
				last = at
			}
		}
		if len(begun) != 200 {
			t.Errorf("%d were switched on", len(begun))
		}
	})
}

func TestServersOwnIsNeverSwitchedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rack{}
		d := rig(t, r)
		s := feed(t, "rack1:1+rack1:99")
		for what, err := range map[string]error{
			"check": d.Check(s.Supply), "off": d.Switch(t.Context(), s, false), "cycle": d.Cycle(t.Context(), s, time.Second),
		} {
			if err == nil || fault.Reason(err) != "rack1:99 feeds the server itself" {
				t.Errorf("%s: %v", what, err)
			}
		}
		if len(r.is) != 0 {
			t.Errorf("left %v", r.is)
		}
	})
}

// Whoever needs a node while it waits for its turn at a slow device, or while that is
// switching it off, has it with power in the end.
func TestNobodyLosesPowerWhoNeedsIt(t *testing.T) {
	for at := time.Duration(0); at < 40*time.Second; at += 700 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			r := &rack{slow: 3 * time.Second, shows: 10 * time.Second}
			d := rig(t, r)
			needed := time.Now().Add(at)
			overtaken := errors.New("somebody needs it")
			f := feed(t, "rack1:1+rack1:2")
			f.Still = func(context.Context) error {
				if time.Now().Before(needed) {
					return nil
				}
				return overtaken
			}
			err := d.Switch(t.Context(), f, false)
			off := r.is["1"] == Off && r.is["2"] == Off
			on := r.is["1"] != Off && r.is["2"] != Off
			if errors.Is(err, overtaken) && !on || err == nil && !off || err != nil && !errors.Is(err, overtaken) {
				t.Errorf("needed after %v: %v, left %v", at, err, r.is)
			}
		})
	}
}

func TestDriversChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rack{slow: 5 * time.Second}
		d := rig(t, r)
		s := feed(t, "rack1:1")
		done := make(chan error)
		go func() { _, err := d.Status(t.Context(), s); done <- err }()
		synctest.Wait()
		if err := d.Set(nil, nil); err != nil || r.closed.Load() {
			t.Errorf("closed while it is asked: %v, %v", r.closed.Load(), err)
		}
		if err := <-done; err != nil || !r.closed.Load() {
			t.Errorf("closed: %v, %v", r.closed.Load(), err)
		}
		_, err := d.Status(t.Context(), s)
		if fault.Reason(err) != "no power driver rack1 in the server's file" || errors.Is(err, ErrNotSupported) {
			t.Error(err)
		}
	})
}

// An outlet that is written as its driver cannot have it is told how it is written.
func TestOutletsTellTheirForm(t *testing.T) {
	t.Parallel()
	d := New()
	if err := d.Set([]Driver{
		{Name: "rack1", Means: &rack{}},
		{Name: "plugs", Hosted: true, Means: &rack{}},
		{Name: "bmc", Hosted: true, Ported: May, Means: &rack{}},
		{Name: "lamp", Ported: Never, Means: &rack{}},
	}, nil); err != nil {
		t.Fatal(err)
	}
	for outlet, want := range map[string]string{
		"rack1": "write it as rack1:PORT ", "rack1@10.9.0.2:7": "write it as rack1:7 ", "plugs:0": "write it as plugs@HOST:0 ",
		"plugs@10.9.2.4": "write it as plugs@10.9.2.4:PORT ", "bmc": "write it as bmc@HOST ", "bmc:700": "write it as bmc@HOST:700 ",
		"bmc:10.9.1.7": "write it as bmc@10.9.1.7 ", "bmc:bmc-7.lab:700": "write it as bmc@bmc-7.lab:700 ", "plugs:10.9.2.4:0": "write it as plugs@10.9.2.4:0 ",
		"plugs:10.9.2.4": "write it as plugs@10.9.2.4:PORT ", "plugs:lamp": "write it as plugs@HOST:lamp ", "lamp:1": "write it as lamp ",
	} {
		f := fault.As(d.Check(feed(t, outlet).Supply))
		if f == nil || !strings.HasPrefix(f.Hint, want) {
			t.Errorf("%s: %v", outlet, f)
		}
	}
	for told, want := range map[string]string{
		"bmc@::1": "bmc@[fd00::2]", "bmc@fe80::1:623": "bmc@[fd00::2]", "bmc@[::1": "without blanks", "rack1:7,rack1:8": "without blanks",
	} {
		if _, err := ParseSupply(told); err == nil || !strings.Contains(fault.As(err).Hint, want) {
			t.Errorf("%s: %v", told, err)
		}
	}
	if got := strings.Join(d.Beginnings(), " "); got != "bmc@ lamp plugs@ rack1:" {
		t.Errorf("they begin with %s", got)
	}
}

// An outlet that is written in another way is the same one.
func TestOneOutletInOtherWords(t *testing.T) {
	d := New()
	own := mustSupply(t, "plain:09")
	if err := d.Set([]Driver{
		{Name: "plain", Numbered: true, Realm: "snmp 1.2.3", Host: "10.9.0.2"},
		{Name: "pdus", Hosted: true, Numbered: true, Realm: "snmp 1.2.3"},
		{Name: "others", Hosted: true, Numbered: true, Realm: "snmp 4.5.6"},
		{Name: "bmc", Hosted: true, Ported: May, Numbered: true, Usual: "623", Realm: "BMC "},
		{Name: "redfish", Hosted: true, Ported: May, Numbered: true, Usual: "443", Realm: "BMC "},
		{Name: "usb"},
		{Name: "usb2"},
	}, own); err != nil {
		t.Fatal(err)
	}
	for told, want := range map[string]string{
		"plain:07": "plain:7", "plain:007": "plain:7", "plain:0": "plain:0", "plain:00": "plain:0", "plain:01.010": "plain:1.10",
		"pdus@PDU-1.Lab.:7": "pdus@pdu-1.lab:7", "pdus@[FD00:0::01]:7": "pdus@[fd00::1]:7", "pdus@[::ffff:10.9.0.2]:7": "pdus@10.9.0.2:7",
		"bmc@10.9.1.7:623": "bmc@10.9.1.7", "bmc@10.9.1.7:0623": "bmc@10.9.1.7", "bmc@10.9.1.7:443": "bmc@10.9.1.7:443",
		"usb:07": "usb:07", "plain:a07": "plain:a07",
	} {
		if got := d.Canonical(mustSupply(t, told)).String(); got != want {
			t.Errorf("%s is %s, want %s", told, got, want)
		}
	}
	for told, want := range map[string]string{
		"plain:7": "pdus@10.9.0.2:7", "pdus@10.9.0.2:7": "plain:7", "pdus@10.9.0.3:7": "", "others@10.9.0.2:7": "",
		"bmc@10.9.1.7": "redfish@10.9.1.7", "usb:7": "", "gone:7": "",
	} {
		if got := d.Aliases(mustSupply(t, told)[0]).String(); got != want {
			t.Errorf("%s is also called %q, want %q", told, got, want)
		}
	}
	for told, want := range map[string]string{
		"plain:7+pdus@10.9.0.2:7":        "plain:7 and pdus@10.9.0.2:7 are one outlet",
		"plain:7+plain:07":               "plain:7 and plain:7 are one outlet",
		"bmc@10.9.1.7+redfish@10.9.1.7":  "bmc@10.9.1.7 and redfish@10.9.1.7 are one outlet",
		"plain:9":                        "plain:9 feeds the server itself",
		"pdus@10.9.0.2:09":               "pdus@10.9.0.2:9 feeds the server itself",
		"pdus@10.9.0.02:7":               "pdus@10.9.0.02:7: 10.9.0.02 is no address of a host",
		"pdus@10.9.0.256:7":              "pdus@10.9.0.256:7: 10.9.0.256 is no address of a host",
		"plain:7+pdus@10.9.0.3:7+usb:07": "",
	} {
		err := d.Check(d.Canonical(mustSupply(t, told)))
		if got := reasonOf(err); got != want {
			t.Errorf("%s: %q, want %q", told, got, want)
		}
	}
	if err := d.Switch(t.Context(), feed(t, "pdus@10.9.0.2:9"), false); reasonOf(err) != "pdus@10.9.0.2:9 feeds the server itself" {
		t.Errorf("%v", err)
	}
}

func reasonOf(err error) string {
	if err == nil {
		return ""
	}
	return fault.Reason(err)
}

// A supply has power while one of its outlets gives it.
func TestSupplyIsOnWithoutADeadOutlet(t *testing.T) {
	for what, switched := range map[string]func(context.Context, *Drivers, Feed, *rack) error{
		"on": func(ctx context.Context, d *Drivers, f Feed, dead *rack) error {
			dead.silent = true
			return d.Switch(ctx, f, true)
		},
		"cycle": func(ctx context.Context, d *Drivers, f Feed, dead *rack) error {
			time.AfterFunc(3*time.Second, func() { dead.mu.Lock(); dead.silent = true; dead.mu.Unlock() }) // both are off
			return d.Cycle(ctx, f, 5*time.Second)
		},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				good, dead := &rack{}, &rack{}
				d := rig(t, good, dead)
				f := feed(t, "rack1:1+rack2:2")
				good.is["1"] = Off
				if what == "cycle" {
					good.is["1"] = On
				}
				err := switched(t.Context(), d, f, dead)
				if _, partly := errors.AsType[Partly](err); !partly || fault.Reason(err) != "rack2 did not answer within 10s" || good.is["1"] != On {
					t.Errorf("%v, left %v", err, good.is)
				}
				dead.silent = true
				f.Several = true
				if _, partly := errors.AsType[Partly](d.Switch(t.Context(), f, true)); partly {
					t.Error("one of several nodes has no power, and nobody is told")
				}
			})
		})
	}
}
