package journal

import (
	"context"
	"time"

	"walt/state"
)

// notice is a line that a user must see. Every shell that the user has open
// shows it; the first of them marks it, and only unmarked ones are shown at the
// next login.
type notice struct {
	Time time.Time `json:"time"`
	Text string    `json:"text"`
	Seen bool      `json:"seen,omitempty"`
}

var notices = state.NewTable[notice]("notice")

// seenFor is how long a notice that was shown stays for the user's other shells.
const seenFor = time.Minute

// Tell leaves a notice for the user within tx.
func (j *Journal) Tell(tx state.Tx, user, text string) error {
	now := j.now().UTC()
	return notices.Put(tx, user+"/"+j.key(now), notice{Time: now, Text: text})
}

// Unseen returns the notices that no session of the user was shown yet, and
// counts them as shown.
func (j *Journal) Unseen(ctx context.Context, user string) (texts []string, err error) {
	some, err := state.Read(ctx, j.store, func(r state.Reader) (bool, error) {
		for _, err := range notices.Keys(r, user+"/", "") {
			return true, err
		}
		return false, nil
	})
	if err != nil || !some { // mostly: who logs in waits for nobody's changes then
		return nil, err
	}
	texts, _, err = j.collect(ctx, user, nil)
	return texts, err
}

// Notices shows the user what Unseen would, and then each notice that comes,
// whether or not another session shows it as well, until ctx ends, which is no
// error.
func (j *Journal) Notices(ctx context.Context, user string, show func(text string)) error {
	w := j.store.Watch(notices.Prefix(user + "/"))
	defer w.Close()
	var known map[string]bool
	for {
		texts, all, err := j.collect(ctx, user, known)
		if err != nil {
			return ignoreEnd(ctx, err)
		}
		known = all
		for _, text := range texts {
			show(text)
		}
		if _, err := w.Next(ctx); err != nil {
			return ignoreEnd(ctx, err)
		}
	}
}

// collect returns the texts of the user's notices that are not known yet, marks
// them as shown, and returns the keys of all that are there, to be known the
// next time. With nothing known, not even that there was nothing, it returns
// the texts that nobody was shown. It deletes what every session had time for.
// There is no order to rely on: a notice may be committed after a younger one.
func (j *Journal) collect(ctx context.Context, user string, known map[string]bool) (texts []string, all map[string]bool, err error) {
	_, err = j.store.Update(ctx, func(tx state.Tx) error {
		texts, all = nil, map[string]bool{}
		for e, err := range notices.Scan(tx, user+"/", "") {
			if err != nil {
				return err
			}
			n := e.Value
			all[e.Key] = true
			wanted := !known[e.Key] && (known != nil || !n.Seen)
			if wanted {
				texts = append(texts, n.Text)
			}
			switch {
			case wanted && !n.Seen:
				n.Seen = true
				err = notices.Put(tx, e.Key, n)
			case !wanted && n.Seen && j.now().Sub(n.Time) > seenFor:
				err = notices.Delete(tx, e.Key)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return texts, all, err
}

// Untell deletes, within tx, those of the user's notices that are over and that nobody was
// shown, and reports whether there were any.
func (j *Journal) Untell(tx state.Tx, user string, over func(text string) bool) (any bool, err error) {
	for e, err := range notices.Scan(tx, user+"/", "") {
		if err != nil {
			return any, err
		}
		if e.Value.Seen || !over(e.Value.Text) {
			continue
		}
		if err := notices.Delete(tx, e.Key); err != nil {
			return any, err
		}
		any = true
	}
	return any, nil
}

// Forget deletes, within tx, the notices of a user who is removed.
func (j *Journal) Forget(tx state.Tx, user string) error {
	for key, err := range notices.Keys(tx, user+"/", "") {
		if err != nil {
			return err
		}
		if err := notices.Delete(tx, key); err != nil {
			return err
		}
	}
	return nil
}
