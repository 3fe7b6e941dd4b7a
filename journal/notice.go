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
func (j *Journal) Unseen(ctx context.Context, user string) ([]string, error) {
	none := true
	err := j.store.View(ctx, func(r state.Reader) error {
		for _, err := range notices.Keys(r, user+"/") {
			none = false
			return err
		}
		return nil
	})
	if none || err != nil {
		return nil, err
	}
	return j.take(ctx, user, func(_ string, n notice) bool { return !n.Seen })
}

// Notices shows each notice that comes for the user until ctx ends, which is no
// error.
func (j *Journal) Notices(ctx context.Context, user string, show func(text string)) error {
	last := instant(j.now())
	w := j.store.Watch(notices.Prefix(user + "/"))
	defer w.Close()
	for {
		if _, err := w.Next(ctx); err != nil {
			return ended(ctx, err)
		}
		var newest string
		texts, err := j.take(ctx, user, func(key string, n notice) bool {
			if key <= last {
				return false
			}
			newest = key
			return true
		})
		if err != nil {
			return ended(ctx, err)
		}
		last = max(last, newest)
		for _, text := range texts {
			show(text)
		}
	}
}

// take returns the texts of the user's notices that are wanted, marks them as
// seen and drops those seen long ago.
func (j *Journal) take(ctx context.Context, user string, wanted func(key string, n notice) bool) (texts []string, err error) {
	err = j.store.Update(ctx, func(tx state.Tx) error {
		texts = nil
		for e, err := range notices.Scan(tx, user+"/", "") {
			switch n := e.Value; {
			case err != nil:
				return err
			case wanted(e.Key[len(user)+1:], n):
				texts = append(texts, n.Text)
				if n.Seen {
					continue
				}
				n.Seen = true
				err = notices.Put(tx, e.Key, n)
			case n.Seen && j.now().Sub(n.Time) > seenFor:
				err = notices.Delete(tx, e.Key)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return texts, err
}

// Forget deletes, within tx, what the journal keeps for the user alone.
func (j *Journal) Forget(tx state.Tx, user string) error {
	for key, err := range notices.Keys(tx, user+"/") {
		if err != nil {
			return err
		}
		if err := notices.Delete(tx, key); err != nil {
			return err
		}
	}
	return typed.Delete(tx, user)
}
