package nodes

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"walt/auth"
	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/state"
)

// Download is the wanted default image of a model, for devices that wait for
// it. It stays in the store until the image is here or no device waits.
type Download struct {
	Model images.Model `json:"model"`
	Since time.Time    `json:"since"`
	Tries int          `json:"tries"`
	Next  time.Time    `json:"next"`            // not tried again before
	Error string       `json:"error,omitempty"` // of the last try
	// Stopped says that a user cancelled it: it waits for RetryJob.
	Stopped bool `json:"stopped,omitempty"`
}

var wanted = state.NewTable[Download]("download")

// request notes within tx that the default image of the model is wanted.
func (l *Lab) request(tx state.Tx, model images.Model) error {
	_, err := wanted.Get(tx, string(model))
	if !errors.Is(err, state.ErrNotFound) {
		return err
	}
	e := journal.Event{Type: journal.Download, Actor: journal.Server, To: images.DefaultRef(model).String(), Detail: "begun"}
	return errors.Join(wanted.Put(tx, string(model), Download{Model: model, Since: l.Now().UTC()}), l.Journal.Record(tx, e))
}

// Downloads returns the default images that devices wait for, ordered by model.
func (l *Lab) Downloads(ctx context.Context) (all []Download, err error) {
	err = l.Store.View(ctx, func(r state.Reader) error {
		all = nil
		for e, err := range wanted.Scan(r, "", "") {
			if err != nil {
				return err
			}
			all = append(all, e.Value)
		}
		return nil
	})
	return all, err
}

// Retry makes every waiting download due now, as if it had not been tried yet:
// for when the registries changed.
func (l *Lab) Retry(ctx context.Context) error {
	_, err := l.Store.Update(ctx, func(tx state.Tx) error {
		for e, err := range wanted.Scan(tx, "", "") {
			if err != nil {
				return err
			}
			e.Value.Tries, e.Value.Next = 0, time.Time{}
			if err := wanted.Put(tx, e.Key, e.Value); err != nil {
				return err
			}
		}
		return nil
	})
	l.kick()
	return err
}

func (l *Lab) kick() {
	select {
	case l.download <- struct{}{}:
	default:
	}
}

// atOnce is how many default images are downloaded at the same time.
const atOnce = 2

// downloads works on the wanted images until ctx ends. Each is downloaded once
// however many devices wait for it.
func (l *Lab) downloads(ctx context.Context) error {
	var tries sync.WaitGroup // they end with ctx
	defer tries.Wait()
	done := make(chan images.Model, atOnce)
	running := map[images.Model]bool{}
	for {
		all, err := l.Downloads(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		pause := time.Hour
		for _, w := range all {
			if w.Stopped || running[w.Model] || len(running) == atOnce {
				continue // the end of a try has all looked at again
			}
			if due := w.Next.Sub(l.Now()); due > 0 {
				pause = min(pause, due)
				continue
			}
			running[w.Model] = true
			tries.Go(func() {
				l.tryDownload(ctx, w.Model)
				done <- w.Model
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		case <-l.download:
		case model := <-done:
			delete(running, model)
		}
	}
}

// tryDownload tries once; a failure is recorded with the time of the next try.
func (l *Lab) tryDownload(ctx context.Context, model images.Model) {
	err := l.obtain(ctx, model)
	if err == nil || ctx.Err() != nil {
		return
	}
	reason := "internal error"
	if f := fault.As(err); f != nil {
		reason = f.Msg
	} else {
		l.Log.Error("download of a default image", "model", model, "err", err)
	}
	_, err = l.Store.Update(ctx, func(tx state.Tx) error { return l.postpone(tx, model, reason) })
	if err == nil || ctx.Err() != nil {
		return
	}
	l.Log.Error("note a failed download", "model", model, "err", err)
	select { // it is still due at once
	case <-ctx.Done():
	case <-time.After(l.Config.Retry):
	}
}

// postpone notes within tx that a try failed, and when the next one is due.
func (l *Lab) postpone(tx state.Tx, model images.Model, reason string) error {
	w, err := wanted.Get(tx, string(model))
	if errors.Is(err, state.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	pause := l.Config.Retry << min(w.Tries, 6)
	w.Tries, w.Error, w.Next = w.Tries+1, reason, l.Now().Add(pause).UTC()
	e := journal.Event{
		Type: journal.Download, Actor: journal.Server, To: images.DefaultRef(model).String(),
		Detail: fmt.Sprintf("try %d failed: %s; next in %v", w.Tries, reason, pause),
	}
	return errors.Join(wanted.Put(tx, string(model), w), l.Journal.Record(tx, e))
}

// obtain downloads the default image of a model and makes the devices that
// wait for it free nodes. Without such devices the download is dropped.
func (l *Lab) obtain(ctx context.Context, model images.Model) error {
	waiting, err := l.waiting(ctx, model)
	if err != nil || !waiting {
		return err
	}
	ctx, report, end := l.jobs.begin(ctx, DownloadID(model), images.DefaultRef(model).String(), "")
	defer end()
	img, err := l.fetchDefault(ctx, model, report)
	if context.Cause(ctx) == errCancelled {
		return errCancelled
	}
	if err != nil {
		return err
	}
	return l.arrive(ctx, model, img)
}

// waiting reports whether a device waits for the model's default image, and
// drops the download when none does.
func (l *Lab) waiting(ctx context.Context, model images.Model) (waiting bool, err error) {
	_, err = l.Store.Update(ctx, func(tx state.Tx) error {
		ds, err := waitingFor(tx, model)
		if waiting = len(ds) > 0; waiting || err != nil {
			return err
		}
		return wanted.Delete(tx, string(model))
	})
	return waiting, err
}

// abandon drops within tx the downloads that only the removed devices waited for.
func abandon(tx state.Tx, removed []Device) error {
	for _, d := range removed {
		if d.Kind != Unknown || d.Model == "" {
			continue
		}
		ds, err := waitingFor(tx, d.Model)
		if err != nil {
			return err
		}
		if len(ds) > 0 {
			continue
		}
		if err := wanted.Delete(tx, string(d.Model)); err != nil {
			return err
		}
	}
	return nil
}

func waitingFor(r state.Reader, model images.Model) (ds []Device, err error) {
	all, err := everything(r)
	return which(all, func(d Device) bool { return d.Kind == Unknown && d.Model == model }), err
}

// fetchDefault downloads the content of the model's default image and checks
// that it is for that model.
func (l *Lab) fetchDefault(ctx context.Context, model images.Model, report func(images.Progress)) (images.Image, error) {
	img, err := l.Library.Fetch(ctx, images.DefaultRef(model), report)
	if err != nil {
		return img, err
	}
	return img, lists(img, model)
}

// lists is a fault unless a default image is for the model.
func lists(img images.Image, model images.Model) error {
	if img.Boots(model) {
		return nil
	}
	return fault.Failedf("%s does not list the model %s in its label walt.node.models", img.Ref, model).
		WithHint("publish a default image that does")
}

// arrive makes a downloaded default image visible, unless another download was
// first, and free nodes of the devices that waited for it.
func (l *Lab) arrive(ctx context.Context, model images.Model, img images.Image) error {
	var enrolled []Device
	_, err := l.Store.Update(ctx, func(tx state.Tx) error {
		enrolled = nil
		ds, err := waitingFor(tx, model)
		if err != nil {
			return err
		}
		_, err = images.Get(tx, img.Ref)
		if errors.Is(err, state.ErrNotFound) {
			e := journal.Event{Type: journal.Download, Actor: journal.Server, To: img.Ref.String(), Detail: "done, " + img.Digest}
			err = errors.Join(images.Put(tx, img), l.Journal.Record(tx, e))
		}
		if err = errors.Join(err, wanted.Delete(tx, string(model))); err != nil {
			return err
		}
		for _, d := range ds {
			l.enroll(&d, img)
			enrolled = append(enrolled, d)
			_, err := l.plan(tx, d, true) // it found nothing to boot so far
			err = errors.Join(err, put(tx, d), l.Journal.Record(tx, registration(auth.Server, d, "")))
			if err != nil {
				return err
			}
		}
		return nil
	})
	for _, d := range enrolled {
		if err == nil && d.Virtual() {
			l.start(d, 0)
		}
	}
	l.kickPorts()
	return err
}
