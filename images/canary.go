package images

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/journal"
	"walt/pause"
	"walt/state"
)

// A new version of a default image is booted by one free node first, the canary.
// Until that is up, the version has a tag of its own and the default image stays
// what it is: whoever takes a node, or the canary itself, gets what is known to
// work, and an end of the server leaves nothing to put right but that one node.
const (
	candidateTag = "candidate" // of the version that a canary boots
	failedTag    = "failed"    // of the last one that did not come up on its canary
)

func (r Ref) tagged(tag string) Ref { return Ref{r.User, r.Name, tag} }

// ErrTaken says that the canary has another image now: somebody took it.
var ErrTaken = errors.New("images: no node boots that version any more")

// Trial is how a canary comes up.
type Trial struct {
	Image Ref // the default image that is updated
	Node  string
	State string        // of the node, as nodes call it
	Took  time.Duration // so far
	Limit time.Duration // of that
}

// trials are the default images that this server tries newer versions of.
type trials struct {
	mu  sync.Mutex
	all map[Ref]auth.Name // who wants each
}

// begin notes a trial until end is called; there is one at a time of each image.
func (t *trials) begin(ref Ref, user auth.Name) (end func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if who, running := t.all[ref]; running {
		return nil, fault.Failedf("%s is updating it now", who)
	}
	if t.all == nil {
		t.all = map[Ref]auth.Name{}
	}
	t.all[ref] = user
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.all, ref)
	}, nil
}

// errNoCanary undoes a change that found no node to try.
var errNoCanary = errors.New("images: no node can be tried")

// tryOut has a canary boot the fresh version, and returns its name when it is up;
// "" when there is none. A canary that somebody takes is followed by another. The
// terms are then what the user agreed to, for the other nodes.
func (c *Catalog) tryOut(ctx context.Context, user auth.Name, terms *Terms, present, fresh Image) (string, error) {
	next := present.Ref.tagged(candidateTag)
	var not []string // that could not be restarted
	for {
		node, how, err := c.release(ctx, user, terms, present, fresh, not)
		switch {
		case errors.Is(err, errNoCanary):
			return "", nil
		case err != nil:
			return node, err
		case how.Outcome != restartOK:
			not = append(not, node)
			if err := c.recall(ctx, user.Actor(), present.Ref, "", false); err != nil {
				return node, err
			}
			continue
		}
		terms.Given.Shown = slices.DeleteFunc(slices.Clone(terms.Given.Shown), func(shown consent.Claim) bool { return shown.Node == node })
		err = c.Nodes.Await(ctx, next, func(t Trial) {
			if t.Image = present.Ref; terms.Tried != nil {
				terms.Tried(t)
			}
		})
		if !errors.Is(err, ErrTaken) {
			return node, err
		}
	}
}

// restartOK is the outcome of a restart that is under way.
const restartOK = "ok"

// release has a canary boot the fresh version, and returns what came of its restart.
func (c *Catalog) release(ctx context.Context, user auth.Name, terms *Terms, present, fresh Image, not []string) (node string, how Restart, err error) {
	fresh.Ref = present.Ref.tagged(candidateTag)
	var restarts []Restart
	terms.Given, err = consent.Seek(terms.Given, terms.Ask, func(given consent.Agreement) (err error) {
		restarts, err = c.Nodes.Change(ctx, user.Actor(), func(tx Change) error {
			now, err := Get(tx, present.Ref)
			if err != nil {
				return err
			}
			if now.Digest != present.Digest {
				return errUpdated
			}
			if err := tx.CanBoot(present.Ref, fresh); err != nil { // nobody is asked about what cannot be
				return err
			}
			if err := visited(tx, present.Ref, given); err != nil { // in the end, all of them reboot
				return err
			}
			if err := Put(tx, fresh); err != nil {
				return err
			}
			if node, err = tx.Try(present.Ref, fresh.Ref, not); err == nil && node == "" {
				err = errNoCanary
			}
			return err
		})
		return err
	})
	for _, r := range restarts {
		if r.Node == node {
			how = r
		}
	}
	return node, how, err
}

// errUpdated is the fault for an update that comes too late.
var errUpdated = fault.Failedf("already updated by someone else")

// recall ends the trial of a version, if there is one: the canary boots the
// default image again, after a restart or, since it never left, without. failed
// is why the version did not come up; it is kept, under its tag, then.
func (c *Catalog) recall(ctx context.Context, actor journal.Actor, ref Ref, failed string, restart bool) error {
	_, err := c.recalled(ctx, actor, ref, failed, restart)
	return err
}

func (c *Catalog) recalled(ctx context.Context, actor journal.Actor, ref Ref, failed string, restart bool) ([]Restart, error) {
	return c.Nodes.Change(ctx, journal.Server, func(tx Change) error { // the user may be gone
		next, running, err := Find(tx, ref.tagged(candidateTag))
		if err != nil || !running {
			return err
		}
		if err := errors.Join(tx.Move(next.Ref, ref, restart), Delete(tx, next.Ref)); err != nil || !restart {
			return err
		}
		e := journal.Event{Type: journal.Image, Actor: actor, To: ref.String(), Detail: "stays as it is: the update was interrupted"}
		if failed != "" {
			next.Ref = ref.tagged(failedTag)
			e.Detail = fmt.Sprintf("stays as it is: the version created %s is kept as %s, since %s", next.Created.UTC().Format("2006-01-02 15:04"), next.Ref.Short(), failed)
			err = Put(tx, next)
		}
		return errors.Join(err, c.Journal.Record(tx, e))
	})
}

// accept ends within tx the trial of a version, if there is one, since present is the
// default image from now on: the canary goes on when it runs that, and else boots it.
func accept(tx Change, present Image) error {
	next, running, err := Find(tx, present.Ref.tagged(candidateTag))
	if err != nil || !running {
		return err
	}
	return errors.Join(tx.Move(next.Ref, present.Ref, next.Digest != present.Digest), Delete(tx, next.Ref))
}

// recallAll ends the trials that an earlier end of the server cut off, until it is
// done or ctx ends.
func (c *Catalog) recallAll(ctx context.Context) {
	for ctx.Err() == nil {
		all, err := state.Read(ctx, c.Store, func(r state.Reader) ([]Image, error) { return Of(r, auth.Nobody) })
		for _, img := range all {
			if img.Ref.Tag != candidateTag {
				continue
			}
			ref := img.Ref.tagged(latest)
			if end, running := c.trials.begin(ref, "the server"); running == nil { // else whoever is at it has ended this one
				err = errors.Join(err, c.recall(ctx, journal.Server, ref, "", true))
				end()
			}
		}
		if err == nil {
			return
		}
		if ctx.Err() == nil {
			c.Log.Error("end what is left of an update of default images", "err", err)
		}
		_ = pause.For(ctx, c.Retry) // the loop looks at ctx itself
	}
}
