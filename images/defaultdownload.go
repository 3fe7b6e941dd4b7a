package images

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"walt/auth"
	"walt/fault"
	"walt/journal"
	"walt/pause"
	"walt/state"
)

// download is the wanted default image of a model, for devices that wait for
// it. It stays in the store until the image is here or no device waits.
type download struct {
	Model Model     `json:"model"`
	Since time.Time `json:"since"`
	Tries int       `json:"tries"`
	Next  time.Time `json:"next"`            // not tried again before
	Error string    `json:"error,omitempty"` // of the last try
	// Stopped says that a user cancelled it: it waits for RetryJob.
	Stopped bool `json:"stopped,omitempty"`
}

var downloads = state.NewTable[download]("download") // by model

// Want notes within the transaction that registers a device that the default
// image of its model is wanted: it is downloaded in the background.
func (c *Catalog) Want(tx state.Tx, model Model) error {
	if _, wanted, err := downloads.Find(tx, string(model)); err != nil || wanted {
		return err
	}
	e := journal.Event{Type: journal.Download, Actor: journal.Server, To: DefaultRef(model).String(), Detail: "begun"}
	return errors.Join(downloads.Put(tx, string(model), download{Model: model, Since: c.Now().UTC()}), c.Journal.Record(tx, e))
}

// Unwant drops within tx the download that no device waits for any more.
func Unwant(tx state.Tx, model Model) error { return downloads.Delete(tx, string(model)) }

// wanted returns the default images that devices wait for, ordered by model.
func (c *Catalog) wanted(ctx context.Context) ([]download, error) {
	return state.Read(ctx, c.Store, func(r state.Reader) ([]download, error) { return downloads.All(r, "") })
}

// Obtain downloads the default image of a model unless it is here, as a job of a
// user who cannot go on without it; report may be nil.
func (c *Catalog) Obtain(ctx context.Context, user auth.Name, model Model, report func(Progress)) error {
	here, err := state.Read(ctx, c.Store, func(r state.Reader) (bool, error) {
		_, here, err := Find(r, DefaultRef(model))
		return here, err
	})
	if here || err != nil {
		return err
	}
	return c.bring(ctx, "", user, model, report)
}

// fetchDefault downloads the content of the model's default image and checks
// that it is for that model.
func (c *Catalog) fetchDefault(ctx context.Context, model Model, report func(Progress)) (Image, error) {
	img, err := c.Content.Fetch(ctx, DefaultRef(model), report)
	if err == nil && !img.Boots(model) {
		err = fault.Failedf("%s does not list the model %s in its label walt.node.models", img.Ref, model).
			WithHint("publish a default image that does")
	}
	if f := fault.As(err); f != nil && ctx.Err() == nil {
		err = fault.New(f.Kind, "%s", f.Msg).WithHint("%s\nor an administrator makes one of their images the default one: see \"advanced set-default-image\"", f.Hint)
	}
	return img, err
}

// arrive makes a downloaded default image visible, unless another download was
// first, and free nodes of the devices that waited for it.
func (c *Catalog) arrive(ctx context.Context, model Model, img Image) error {
	_, err := c.Nodes.Change(ctx, journal.Server, func(tx Change) error {
		_, here, err := Find(tx, img.Ref)
		if err == nil && !here {
			e := journal.Event{Type: journal.Download, Actor: journal.Server, To: img.Ref.String(), Detail: "done, " + img.Digest}
			err = errors.Join(Put(tx, img), c.Journal.Record(tx, e))
		}
		return errors.Join(err, Unwant(tx, model), tx.Enroll(model, img))
	})
	return err
}

// atOnce is how many default images are downloaded at the same time.
const atOnce = 2

// Run downloads the default images that devices wait for, and ends the updates of
// some that an end of the server cut off, until ctx ends.
func (c *Catalog) Run(ctx context.Context) error {
	return c.Duties.Hold(ctx, "downloads", func(ctx context.Context) error {
		var left sync.WaitGroup // ends with ctx
		defer left.Wait()
		left.Go(func() { c.recallAll(ctx) })
		return c.downloadWanted(ctx)
	})
}

// downloadWanted works on the wanted images until ctx ends. Each is downloaded once
// however many devices wait for it.
func (c *Catalog) downloadWanted(ctx context.Context) error {
	watch := c.Store.Watch(downloads.Prefix(""))
	defer watch.Close()
	var tries sync.WaitGroup // they end with ctx
	defer tries.Wait()
	done := make(chan Model, atOnce)
	running := map[Model]bool{}
	for {
		all, err := c.wanted(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		again := time.Hour
		for _, w := range all {
			if w.Stopped || running[w.Model] || len(running) == atOnce {
				continue // the end of a try has all looked at again
			}
			if due := w.Next.Sub(c.Now()); due > 0 {
				again = min(again, due)
				continue
			}
			running[w.Model] = true
			tries.Go(func() {
				c.try(ctx, w.Model)
				done <- w.Model
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(again):
		case <-watch.Changed():
		case model := <-done:
			delete(running, model)
		}
	}
}

// try tries one download once; a failure is noted with the time of the next try.
func (c *Catalog) try(ctx context.Context, model Model) {
	err := c.Download(ctx, model)
	if err == nil || ctx.Err() != nil {
		return
	}
	if fault.As(err) == nil {
		c.Log.Error("download of a default image", "model", model, "err", err)
	}
	reason := fault.Reason(err)
	_, err = c.Store.Update(ctx, func(tx state.Tx) error { return c.postpone(tx, model, reason) })
	if err == nil || ctx.Err() != nil {
		return
	}
	c.Log.Error("note a failed download", "model", model, "err", err)
	_ = pause.For(ctx, c.Retry) // it is still due at once
}

// firstPause follows the first failed download of a default image, see
// pause.Doubled.
const firstPause = 2 * time.Second

// postpone notes within tx that a try failed, and when the next one is due.
func (c *Catalog) postpone(tx state.Tx, model Model, reason string) error {
	w, wanted, err := downloads.Find(tx, string(model))
	if err != nil || !wanted {
		return err
	}
	wait := pause.Doubled(c.Retry, w.Tries)
	w.Tries, w.Error, w.Next = w.Tries+1, reason, c.Now().Add(wait).UTC()
	e := journal.Event{
		Type: journal.Download, Actor: journal.Server, To: DefaultRef(model).String(),
		Detail: fmt.Sprintf("try %d failed: %s; next in %v", w.Tries, reason, wait),
	}
	return errors.Join(downloads.Put(tx, string(model), w), c.Journal.Record(tx, e))
}

// Download tries once to bring the default image of a model, as a job, and makes
// the devices that wait for it free nodes. Without such devices it is dropped.
func (c *Catalog) Download(ctx context.Context, model Model) error {
	var waiting bool
	_, err := c.Nodes.Change(ctx, journal.Server, func(tx Change) (err error) {
		if waiting, err = tx.Waiting(model); err != nil || waiting {
			return err
		}
		return Unwant(tx, model)
	})
	if err != nil || !waiting {
		return err
	}
	return c.bring(ctx, DownloadID(model), "", model, nil)
}

// bring downloads the default image of a model as a job, and makes it visible.
func (c *Catalog) bring(ctx context.Context, job string, user auth.Name, model Model, report func(Progress)) error {
	var img Image
	err := c.transfer(ctx, job, DefaultRef(model).String(), user, report, func(ctx context.Context, report func(Progress)) (err error) {
		img, err = c.fetchDefault(ctx, model, report)
		return err
	})
	if err != nil {
		return err
	}
	return c.arrive(ctx, model, img)
}

// RetryDownloads makes every waiting download due now, as if it had not been
// tried yet: for when the registries changed.
func (c *Catalog) RetryDownloads(ctx context.Context) error {
	_, err := c.Store.Update(ctx, func(tx state.Tx) error {
		for e, err := range downloads.Scan(tx, "", "") {
			if err != nil {
				return err
			}
			e.Value.Tries, e.Value.Next = 0, time.Time{}
			if err := downloads.Put(tx, e.Key, e.Value); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}
