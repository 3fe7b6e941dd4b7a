package nodes

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/state"
)

// Acquire makes the nodes of the set the user's: each boots the user's clone of
// its default image. Nodes of others need consent (a *consent.Error says whose
// they are); one that is the user's already fails the whole set. The remarks are on all
// of them.
func (l *Lab) Acquire(ctx context.Context, user auth.Name, set Set, remarks Remarks, given consent.Agreement) (Result, error) {
	most := l.tooManyToTake()
	return l.change(ctx, user.Actor(), given, func(c *change) error {
		c.remarks = remarks
		ds, err := set.expand(stored{place{ctx, l, c.tx}, most}, user, nodeScope)
		if err != nil {
			return err
		}
		if err := notMine(ds, user, remarks); err != nil {
			return err
		}
		if err := c.able(ds, user); err != nil { // nobody is asked about what cannot be
			return err
		}
		if len(ds) >= most {
			return c.takeTooMany(ds, user)
		}
		if err := c.check(ctx, ds, user); err != nil {
			return err
		}
		return c.take(ds, user)
	})
}

// check compares what the user agreed to with whom it disturbs that the user takes nodes:
// their owners, and of those that are available who waits for them.
func (c *change) check(ctx context.Context, ds []Device, user auth.Name) error {
	waiting, err := c.lab.waitingForOthers(ctx, c.tx, user)
	if err != nil {
		return err
	}
	var all []consent.Claim
	for _, d := range ds {
		if d.contested(user) {
			all = append(all, d.claim())
		}
		if !d.available() {
			continue
		}
		if i := slices.IndexFunc(waiting, func(w awaiting) bool { return w.wants(&d) }); i >= 0 {
			w := &waiting[i]
			what, err := w.what(c.tx)
			if err != nil {
				return err
			}
			all = append(all, consent.Claim{Node: string(d.Name), Owner: w.User, Since: w.Since, Uses: fmt.Sprintf("is free, and %s waits for %s", w.User, what)})
		}
	}
	return c.given.Check(all)
}

// notMine returns a fault for nodes that are the user's already, of which these remarks
// were to be.
func notMine(ds []Device, user auth.Name, remarks Remarks) error {
	mine := names(ds, func(d Device) bool { return d.Owner() == user })
	if len(mine) == 0 {
		return nil
	}
	set := listed(mine, "my-nodes")
	hint := fmt.Sprintf("to change what a node boots: node boot %s IMAGE (see: help show node-ownership)", set)
	if remarks.End != (End{}) || remarks.Tied {
		hint += fmt.Sprintf("\nto have nodes released at another time: node extend %s 1h (see: help show sharing)", set)
	}
	return fault.Failedf("already yours: %s; nothing changed", fault.Few(mine)).WithHint("%s", hint)
}

// tooManyToTake is how many nodes are certainly too many for one command that takes them:
// each writes its row, and moves in the index of owners.
func (l *Lab) tooManyToTake() int { return l.Store.Limit().Rows/3 + 1 }

// takeTooMany finds out how many nodes fit, of which there are too many.
func (c *change) takeTooMany(ds []Device, user auth.Name) error {
	return cmp.Or(c.take(ds, user), state.ErrTooBig)
}

// Some are any of the lab's nodes.
type Some struct {
	N     int
	Model images.Model // "": any
	Set   Set          // that they are of; the zero Set: any
}

func ofModel(m images.Model) func(*Device) bool { return func(d *Device) bool { return d.Model == m } }

// wanted returns what tells which nodes some may be, nil for any, and reports a model that
// no node has, and names that there are not.
func (l *Lab) wanted(ctx context.Context, r state.Reader, user auth.Name, some Some) (func(*Device) bool, error) {
	return l.ofSome(ctx, r, user, some, Set.matcher)
}

// ofSome is wanted, by what tells which nodes a set stands for.
func (l *Lab) ofSome(ctx context.Context, r state.Reader, user auth.Name, some Some, of func(Set, source, auth.Name) (func(*Device) bool, error)) (func(*Device) bool, error) {
	var test func(*Device) bool
	if some.Model != "" {
		known, err := l.Models(ctx)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(known, some.Model) {
			return nil, fault.Unknown("model", []string{string(some.Model)}, images.ModelNames(known), "see the models with: node show --all")
		}
		test = ofModel(some.Model)
	}
	if some.Set.IsZero() {
		return test, nil
	}
	ofSet, err := of(some.Set, seen{place{ctx, l, r}}, user)
	if err != nil || test == nil {
		return ofSet, err
	}
	return func(d *Device) bool { return test(d) && ofSet(d) }, nil
}

// words says what they are, as in "rpi-3-b nodes of tag:lora".
func (s Some) words() string {
	what := "nodes"
	if s.N == 1 {
		what = "node"
	}
	if s.Model != "" {
		what = string(s.Model) + " " + what
	}
	if !s.Set.IsZero() {
		what += " of " + s.Set.String()
	}
	return what
}

// AcquireAny makes some available nodes the user's: the readiest ones (see someFree). It
// never takes anybody's node, nor one that is kept for somebody who waits: when there are
// fewer, it fails with fault.InUse.
func (l *Lab) AcquireAny(ctx context.Context, user auth.Name, some Some, remarks Remarks) (Result, error) {
	most := l.tooManyToTake()
	n := some.N
	return l.change(ctx, user.Actor(), consent.Agreement{}, func(c *change) error {
		c.remarks = remarks
		wanted, err := l.wanted(ctx, c.tx, user, some)
		if err != nil {
			return err
		}
		ws, err := wishes.All(c.tx, "")
		if err != nil {
			return err
		}
		waiting, err := c.turns(ctx, ws, false)
		if err != nil {
			return err
		}
		free, err := c.someFree(ctx, min(n, most), waiting.notKept(wanted))
		if err != nil {
			return err
		}
		if len(free) < min(n, most) {
			return c.tooFewFree(ctx, user, some, wanted, len(free), waiting)
		}
		var ds []Device
		for _, d := range free {
			ds = append(ds, d.Device)
			if d.readiness == unreachable {
				c.result.Unreachable = append(c.result.Unreachable, d.Name)
			}
		}
		ds = inOrder(ds)
		if err := c.able(ds, user); err != nil {
			return err
		}
		if len(ds) >= most {
			return c.takeTooMany(ds, user)
		}
		return c.take(ds, user)
	})
}

// tooFewFree is the fault for who wants more nodes than there are to have.
func (c *change) tooFewFree(ctx context.Context, user auth.Name, some Some, wanted func(*Device) bool, free int, waiting *turns) error {
	out, err := c.lab.count(ctx, func(d *Device) bool { return d.Free() && d.Retired() != nil && (wanted == nil || wanted(d)) })
	if err != nil {
		return err
	}
	var besides []string
	if kept := waiting.keptOf(wanted); kept > 0 {
		besides = append(besides, fmt.Sprintf("%d kept for who waits", kept))
	}
	if out > 0 {
		besides = append(besides, fmt.Sprintf("%d out of service", out))
	}
	what := tooFew(free, some)
	if len(besides) > 0 {
		what += ", besides " + strings.Join(besides, " and ")
	}
	f := fault.New(fault.InUse, "%s; nothing changed", what)
	if all, err := c.lab.possible(ctx, c.tx, user, some); err != nil || all.n < some.N {
		return cmp.Or(err, error(f.WithHint("see all nodes with: node show --all")))
	}
	return f.WithHint("wait for them with: node acquire %s --wait\nsee who has the others with: node show --all", some.options())
}

// tooFew says how many of the wanted nodes are free.
func tooFew(free int, some Some) string {
	n, nodes := some.N, some.words()
	switch {
	case n == 1:
		return "no " + nodes + " is free"
	case free == 0:
		return fmt.Sprintf("none of the %d %s wanted is free", n, nodes)
	case free == 1:
		return fmt.Sprintf("only 1 of the %d %s wanted is free", n, nodes)
	}
	return fmt.Sprintf("only %d of the %d %s wanted are free", free, n, nodes)
}

// listed are nodes as a set that can be typed: by their names, many by the keyword of a
// set that they are of.
func listed(names []string, keyword string) string {
	if fault.Many(names) {
		return keyword
	}
	return strings.Join(names, ",")
}

// SetImage makes the nodes of the set boot an image, or their default images
// when name is "default": an image that a user who acts has under the name, or
// for the server, a full name. Nodes of others need consent. The remarks are on all of
// them that are not free then.
func (l *Lab) SetImage(ctx context.Context, actor journal.Actor, set Set, name string, remarks Remarks, given consent.Agreement) (Result, error) {
	var ref images.Ref
	if name != "default" {
		var err error
		if ref, err = imageFor(actor, name); err != nil {
			return Result{}, err
		}
	}
	if ref.IsZero() {
		return l.free(ctx, actor, set, given, func(c *change) ([]Device, error) {
			ds, err := set.expand(l.stored(ctx, c.tx), auth.UserOf(actor), nodeScope)
			if err != nil {
				return nil, err
			}
			return ds, given.Check(claims(ds, auth.UserOf(actor)))
		})
	}
	return l.change(ctx, actor, given, func(c *change) error {
		c.remarks = remarks
		ds, err := set.expand(l.stored(ctx, c.tx), auth.UserOf(actor), nodeScope)
		if err != nil {
			return err
		}
		if err := c.fits(ds, ref); err != nil {
			return err
		}
		if err := c.check(ctx, ds, auth.UserOf(actor)); err != nil {
			return err
		}
		for _, d := range ds {
			if err := c.assign(d, ref); err != nil {
				return err
			}
		}
		return nil
	})
}

// imageFor parses the name of an image as the actor says it.
func imageFor(actor journal.Actor, name string) (images.Ref, error) {
	if actor == journal.Server {
		return images.ParseRef(name)
	}
	return images.ParseName(auth.UserOf(actor), name)
}

// fits checks that the user's image is there, lists the models of all devices, and can
// boot those that are machines.
func (c *change) fits(ds []Device, ref images.Ref) error {
	img, err := images.Own(c.tx, ref, "default")
	if err != nil {
		return err
	}
	if bad := names(ds, func(d Device) bool { return !img.Boots(d.Model) }); len(bad) > 0 {
		return fault.Failedf("%s cannot boot %s: the image is for %s; nothing changed", ref.Short(), fault.Few(bad), strings.Join(images.ModelNames(img.Models), ", ")).
			WithHint("see the models of nodes with: node show --all\nthose of images with: image show")
	}
	return c.boots(ds, img)
}

// names lists those of the devices that are wanted.
func names(ds []Device, wanted func(Device) bool) (all []string) {
	for _, d := range ds {
		if wanted(d) {
			all = append(all, string(d.Name))
		}
	}
	return all
}
