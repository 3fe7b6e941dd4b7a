package nodes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"walt/auth"
	"walt/await"
	"walt/consent"
	"walt/ethernet"
	"walt/fault"
	"walt/journal"
	"walt/power"
	"walt/state"
)

const (
	// softLimit is how long a node may take to accept that it is to reboot.
	softLimit = 5 * time.Second
	// workLimit is how long the restart of one node may take, waiting for its
	// turn at the switch included.
	workLimit = 2 * time.Minute
)

// Reboot is what came of restarting a node.
type Reboot struct {
	Outcome RebootOutcome
	Reason  string // in words for users; "" unless the outcome is RebootFailed
	Start   bool   // it was off, as far as is known, and starts
	Rousing bool   // packets were sent that wake it, and it has not shown itself yet
	Shared  bool   // its power was not cut since its outlets feed others: a hard reboot asks about these
	StaysOn bool   // not all of its outlets can be switched off
	Again   bool   // the server goes on trying what it was ordered to do with the power
	Partly  string // why not all outlets that feed it give it power, in words for users; "": all do
}

// RebootOutcome is how a reboot went.
type RebootOutcome string

// The outcomes of a reboot.
const (
	RebootOK      RebootOutcome = "ok"
	RebootSkipped RebootOutcome = "skipped" // it was not needed
	RebootNone    RebootOutcome = "none"    // the server has no means to
	RebootFailed  RebootOutcome = "failed"
)

// String is the reason of a reboot that failed, else its outcome.
func (r Reboot) String() string {
	if r.Outcome == RebootFailed {
		return r.Reason
	}
	return string(r.Outcome)
}

// Reboot starts the nodes of the set anew, contested ones with consent or by mates. Their
// images stay. A node that is up is asked first, unless hard, and only if that
// fails is its power cut. each is called with every node as soon as it is known
// what came of it. When ctx ends, the reboots that were begun go on.
func (l *Lab) Reboot(ctx context.Context, user auth.Name, set Set, hard bool, given consent.Agreement, each func(Change)) error {
	may := func(ds []Device, beside []consent.Claim) error {
		return given.Check(append(claimsToUse(ds, user), beside...))
	}
	return interrupted(ctx, l.reboot(ctx, restarts{user: user, set: set, hard: hard, may: may}, each))
}

// restarts are those that a user asked for.
type restarts struct {
	user auth.Name
	set  Set
	hard bool
	// may is asked about the devices, and what else is disturbed since it shares outlets with
	// them: an error says that they may not be.
	may   func(ds []Device, beside []consent.Claim) error
	quiet bool // the owners are not told
}

// soft reports whether a device is asked to reboot first if it is up.
func (how restarts) soft(d Device) bool { return !how.hard && !d.Settings().Hard }

// reboot is Reboot of devices as they are in the transaction that asks whether it may.
func (l *Lab) reboot(ctx context.Context, how restarts, each func(Change)) error {
	var ds []Device
	var woken map[Name]power.Port
	var fit fitting
	asked := map[ethernet.MAC]bool{}  // to reboot by themselves first
	worked := map[ethernet.MAC]bool{} // on ports that the server may work
	var strips map[Name]*strip        // of those whose outlets are cut for a moment
	var lit []beside
	order := func(tx state.Tx, mac ethernet.MAC) (power.Port, error) {
		if how.hard {
			if err := l.Ports.MayCut(tx, mac); err != nil {
				return power.Port{}, err
			}
		}
		start := l.Ports.StartAnew
		if asked[mac] {
			start = l.Ports.PowerOn
		}
		port, err := start(tx, mac)
		if err != nil || !port.IsZero() {
			worked[mac] = true
			return port, err
		}
		may, err := l.Ports.Controls(tx, mac)
		if may {
			worked[mac] = true
		}
		return port, err
	}
	_, err := l.Store.Update(ctx, func(tx state.Tx) (err error) {
		if ds, err = how.set.expand(l.stored(ctx, tx), how.user, nodeScope); err != nil {
			return err
		}
		var cut, back []consent.Claim
		if strips, cut, err = l.toCut(tx, ds, how.hard); err != nil {
			return err
		}
		if lit, back, err = l.lit(tx, how.user, ds); err != nil {
			return err
		}
		if err = how.may(ds, append(cut, back...)); err != nil {
			return err
		}
		clear(asked)
		clear(worked)
		for _, d := range ds {
			if how.soft(d) && l.status.of(d.Name).State == Up {
				asked[d.MAC] = true
			}
		}
		if woken, fit, err = l.need(tx, ds, order); err != nil {
			return err
		}
		if len(lit) > 0 {
			var told journal.Bundle
			tellLit(&told, how.user, lit)
			if err := l.Journal.Write(tx, told); err != nil {
				return err
			}
		}
		return l.orderCut(tx, strips, ds)
	})
	if err != nil {
		return l.tooMany(err, fit, "")
	}
	portless := func(d Device) bool { return !d.Virtual() && !worked[d.MAC] && strips[d.Name] == nil }
	told := func(d Device, r Reboot) {
		each(Change{Node: d.Name, Image: d.Image, Previous: d.Owner(), Reboot: r})
		l.tellBesides(strips, lit, d, r, each)
	}
	limited := context.WithoutCancel(ctx)
	runOnce(strips, ds, func(s *strip) Reboot {
		limited, cancel := context.WithTimeout(limited, workLimit)
		defer cancel()
		return l.cutStrip(limited, how.user, s)
	})
	notes := rebootNotes{lab: l, user: how.user, quiet: how.quiet, left: len(ds)}
	ds = notes.none(ctx, ds, func(d Device) bool { return portless(d) && l.status.of(d.Name).State != Up }, told)
	restart := func(ctx context.Context, d Device) (r Reboot) {
		why := cause{how.user.Actor(), "rebooted"}
		if s := strips[d.Name]; s != nil {
			r = s.run()
		} else if portless(d) { // nothing is ordered of it
			r = l.restartBy(ctx, d, power.Port{}, nil, why)
		} else {
			r = l.restart(ctx, d, woken[d.Name], how.soft(d), why)
		}
		notes.add(ctx, d, r)
		return r
	}
	return atOnce(ctx, &l.works, ds, slow, restart, told)
}

// restart makes a node start anew by the means that there are, and returns what
// came of it. ordered is its port when that has its order already.
func (l *Lab) restart(ctx context.Context, d Device, ordered power.Port, soft bool, why cause) Reboot {
	var refused error
	if s := l.status.of(d.Name); soft && s.State == Up && (ordered.IsZero() || !d.Virtual()) {
		if refused = l.soft(ctx, d, s, why); refused == nil {
			if !ordered.IsZero() { // it has its power, and is not to lose it any more
				if _, err := l.carryOut(ctx, ordered); err != nil {
					return Reboot{Outcome: RebootFailed, Reason: l.why(d.Name, err), Again: true}
				}
			}
			return Reboot{Outcome: RebootOK}
		}
	}
	if !d.Virtual() && (ordered.IsZero() || refused != nil) {
		silent := refused != nil && l.fellSilent(ctx, d)
		_, err := l.Store.Update(ctx, func(tx state.Tx) (err error) {
			ordered = power.Port{}
			if woken, err := l.Ports.Woken(tx, d.MAC); err != nil || woken && refused != nil && !silent {
				return err // asking again does not help
			}
			ordered, err = l.Ports.PowerCycle(tx, d.MAC)
			return err
		})
		if err != nil {
			return Reboot{Outcome: RebootFailed, Reason: l.why(d.Name, err)}
		}
	}
	return l.restartBy(ctx, d, ordered, refused, why)
}

// quickly reports whether restartBy of a node that was not asked waits for nothing.
func (l *Lab) quickly(d Device, ordered power.Port) bool {
	return ordered.IsZero() && (d.Virtual() || l.status.of(d.Name).State != Up)
}

// restartBy is restart of a node whose port, if the server may work that, has its order.
// refused is why it did not reboot by itself, nil when it was not asked.
func (l *Lab) restartBy(ctx context.Context, d Device, ordered power.Port, refused error, why cause) Reboot {
	s := l.status.of(d.Name)
	done := Reboot{Outcome: RebootOK, Start: s.State == Off && (d.Virtual() || !s.Heard.IsZero())}
	switch {
	case d.Virtual() && ordered.IsZero():
		if refused := l.start(d, 0, why); refused != "" {
			return Reboot{Outcome: RebootFailed, Reason: refused}
		}
		return done
	case !ordered.IsZero():
		l.status.change(d.Name, func(s *Status) { s.cause = why }) // for when its power goes
		var err error
		if done.Partly, err = l.carryOut(ctx, ordered); err != nil {
			l.status.change(d.Name, func(s *Status) { s.cause = cause{} })
			return l.unswitched(d, err, goesOnTrying(err))
		}
		if s = l.status.of(d.Name); !d.Virtual() { // whose host tells
			l.starting(d, 0, why)
		} else if s.Failed { // its host refuses
			return Reboot{Outcome: RebootFailed, Reason: s.Why}
		} else if s.State == Up && s.cause == why && why.why != "" { // it was to go off, and had not yet
			return l.restartBy(ctx, d, power.Port{}, refused, why)
		}
		if rousing, err := state.Read(ctx, l.Store, func(r state.Reader) (bool, error) { return l.Ports.Rousing(r, d.MAC) }); err == nil {
			done.Rousing = rousing // else it may be
		}
		return done
	case s.State == Up && refused == nil:
		if refused = l.soft(ctx, d, s, why); refused == nil {
			return Reboot{Outcome: RebootOK}
		}
	}
	if refused != nil {
		r := Reboot{Outcome: RebootFailed, Reason: "it did not reboot by itself (" + refused.Error() + "), and the server has no means to cut its power"}
		if fed, err := l.FedWith(ctx, []Name{d.Name}); err == nil && len(fed) > 0 {
			r.Shared = true
			r.Reason = fmt.Sprintf("it did not reboot by itself (%v), and %s feeds %s, too", refused, fed[0].Shared, fault.Few(fed[0].Others))
		}
		return r
	}
	return Reboot{Outcome: RebootNone}
}

// carryOut has the power of nodes be as is ordered. What some outlets fail to do is no error
// while others give power: partly is why, in words for users.
func (l *Lab) carryOut(ctx context.Context, port power.Port) (partly string, err error) {
	err = l.Ports.Execute(ctx, port)
	if _, is := errors.AsType[power.Partly](err); is {
		return fault.Reason(err), nil
	}
	return "", err
}

// unswitched is the Reboot of a node whose power could not be what was ordered; again says that
// the server goes on trying.
func (l *Lab) unswitched(d Device, err error, again bool) Reboot {
	r := Reboot{Outcome: RebootFailed, Reason: l.why(d.Name, err), StaysOn: power.StaysOn(err), Again: again}
	if r.StaysOn {
		r.Reason = "it stays on, as not all of its outlets can be switched off: " + r.Reason
	}
	return r
}

// goesOnTrying reports whether the server does that with an order that failed so.
func goesOnTrying(err error) bool {
	_, dropped := errors.AsType[power.Dropped](err)
	return !dropped
}

// CanRestart reports whether the server has the means to start a node anew
// whatever the node itself does.
func (l *Lab) CanRestart(ctx context.Context, d Device) (bool, error) {
	return state.Read(ctx, l.Store, func(r state.Reader) (bool, error) { return l.canRestart(r, d) })
}

func (l *Lab) canRestart(r state.Reader, d Device) (bool, error) {
	if d.Virtual() {
		return true, nil
	}
	woken, err := l.Ports.Woken(r, d.MAC)
	if err != nil || woken {
		return false, err
	}
	return l.Ports.Controls(r, d.MAC)
}

// why is an error in words for users; what is none of theirs goes to the log.
func (l *Lab) why(n Name, err error) string {
	switch {
	case fault.As(err) != nil:
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("it took longer than %v", workLimit)
	default:
		l.Log.Error("start a node", "node", n, "err", err)
	}
	return fault.Reason(err)
}

// soft has a node that is up reboot by itself.
func (l *Lab) soft(ctx context.Context, d Device, s Status, why cause) error {
	ctx, cancel := context.WithTimeout(ctx, softLimit)
	defer cancel()
	defer await.Begin(ctx, string(d.Name), "asking it to reboot")()
	// Before: it may be back sooner than we hear of it.
	l.status.change(d.Name, func(st *Status) {
		l.begin(st, d, 0, why)
		st.untold, st.runs, st.asked = true, s.runs, true
	})
	err := l.ask(ctx, d, s.Addr, "reboot")
	if err == nil {
		l.status.change(d.Name, func(now *Status) { now.untold = false })
		return nil
	}
	l.status.change(d.Name, func(now *Status) {
		if now.State == Booting {
			*now = s
		}
	})
	return err
}

// start gives a virtual node its power, or takes it away for a moment. tries is
// how often that was done in vain. It returns the reason, in words for users, when
// its host refuses, which stays with the node; else "".
func (l *Lab) start(d Device, tries int, why cause) (refused string) {
	l.starting(d, tries, why)
	return l.give(d)
}

// give is start of a node whose status tells of it already.
func (l *Lab) give(d Device) (refused string) {
	host, here := l.Hosts[d.Host]
	if !here {
		return l.failed(d.Name, fault.Failedf("this server does not run %s nodes", d.Host))
	}
	if err := host.Start(d.Name); err != nil {
		return l.failed(d.Name, err)
	}
	return ""
}

// starting notes that a node should be up soon.
func (l *Lab) starting(d Device, tries int, why cause) {
	l.status.change(d.Name, func(s *Status) { l.begin(s, d, tries, why) })
}

// begin makes s the status of a node that was just told to start.
func (l *Lab) begin(s *Status, d Device, tries int, why cause) {
	now := l.Now()
	late := now.Add(d.Settings().BootDelay + d.Settings().bootTimeout())
	*s = Status{State: Booting, due: true, began: now, late: late, tries: tries, cause: why, seen: s.seen}
}
