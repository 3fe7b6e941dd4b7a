package nodes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/state"
)

// Download is the wanted default image of a model, for devices that wait for
// it. It stays in the store until the image is here or no device waits.
type Download struct {
	Model string    `json:"model"`
	Since time.Time `json:"since"`
	Tries int       `json:"tries"`
	Next  time.Time `json:"next"`            // not tried again before
	Error string    `json:"error,omitempty"` // of the last try
}

var wanted = state.NewTable[Download]("download")

// request notes within tx that the default image of the model is wanted. It
// writes even what is there, so that an image that arrives in another
// transaction does not miss the device of this one.
func (l *Lab) request(tx state.Tx, model string) error {
	w, err := wanted.Get(tx, model)
	if errors.Is(err, state.ErrNotFound) {
		w = Download{Model: model, Since: l.Now().UTC()}
		e := journal.Event{Type: journal.Download, Actor: journal.Server, To: images.DefaultRef(model).String(), Detail: "begun"}
		err = l.Journal.Record(tx, e)
	}
	if err != nil {
		return err
	}
	return wanted.Put(tx, model, w)
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

// Retry makes every waiting download due now, as when the registries changed.
func (l *Lab) Retry(ctx context.Context) error {
	err := l.Store.Update(ctx, func(tx state.Tx) error {
		for e, err := range wanted.Scan(tx, "", "") {
			if err != nil {
				return err
			}
			e.Value.Next = time.Time{}
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
	var g errgroup.Group // its goroutines end with ctx
	g.SetLimit(atOnce)
	done := make(chan string)
	running := map[string]bool{}
	for {
		all, err := l.Downloads(ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		pause := time.Hour
		for _, w := range all {
			due := w.Next.Sub(l.Now())
			if running[w.Model] {
				continue
			}
			if due > 0 {
				pause = min(pause, due)
				continue
			}
			started := g.TryGo(func() error {
				l.tryDownload(ctx, w)
				select {
				case done <- w.Model:
				case <-ctx.Done():
				}
				return nil
			})
			if started {
				running[w.Model] = true
			}
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return g.Wait()
		case <-timer.C:
		case <-l.download:
		case model := <-done:
			delete(running, model)
		}
		timer.Stop()
	}
}

// tryDownload tries once; a failure is recorded with the time of the next try.
func (l *Lab) tryDownload(ctx context.Context, w Download) {
	err := l.obtain(ctx, w)
	if err == nil || ctx.Err() != nil {
		return
	}
	reason := "internal error"
	if f := fault.As(err); f != nil {
		reason = f.Msg
	} else {
		l.Log.Error("download of a default image", "model", w.Model, "err", err)
	}
	pause := l.Config.Retry << min(w.Tries, 6)
	err = l.Store.Update(ctx, func(tx state.Tx) error {
		now, err := wanted.Get(tx, w.Model)
		if errors.Is(err, state.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		now.Tries, now.Error, now.Next = w.Tries+1, reason, l.Now().Add(pause).UTC()
		e := journal.Event{Type: journal.Download, Actor: journal.Server, To: images.DefaultRef(w.Model).String(),
			Detail: fmt.Sprintf("try %d failed: %s; next in %v", now.Tries, reason, pause)}
		return errors.Join(wanted.Put(tx, w.Model, now), l.Journal.Record(tx, e))
	})
	if err != nil && ctx.Err() == nil {
		l.Log.Error("note a failed download", "model", w.Model, "err", err)
	}
}

// obtain downloads the default image of a model and makes the devices that
// wait for it free nodes. Without such devices the download is dropped.
func (l *Lab) obtain(ctx context.Context, w Download) error {
	waiting, err := l.waiting(ctx, w.Model)
	if err != nil || !waiting {
		return err
	}
	img, err := l.fetchDefault(ctx, w.Model)
	if err != nil {
		return err
	}
	return l.arrive(ctx, w.Model, img)
}

// waiting reports whether a device waits for the model's default image, and
// drops the download when none does.
func (l *Lab) waiting(ctx context.Context, model string) (waiting bool, err error) {
	err = l.Store.Update(ctx, func(tx state.Tx) error {
		if _, err := wanted.Get(tx, model); err != nil { // read: see request
			return err
		}
		ds, err := waitingFor(tx, model)
		if waiting = len(ds) > 0; waiting || err != nil {
			return err
		}
		return wanted.Delete(tx, model)
	})
	return waiting, err
}

func waitingFor(r state.Reader, model string) (ds []Device, err error) {
	all, err := everything(r)
	return which(all, func(d Device) bool { return d.Kind == Unknown && d.Model == model }), err
}

// fetchDefault downloads the content of the model's default image and checks
// that it is for that model.
func (l *Lab) fetchDefault(ctx context.Context, model string) (images.Image, error) {
	img, err := l.Library.Fetch(ctx, images.DefaultRef(model))
	if err != nil {
		return img, err
	}
	if !img.Boots(model) {
		return img, fault.Failedf("%s does not list the model %s in its label walt.node.models", img.Ref, model).
			WithHint("publish a default image that does")
	}
	return img, nil
}

// arrive makes a downloaded default image visible, and free nodes of the
// devices that waited for it.
func (l *Lab) arrive(ctx context.Context, model string, img images.Image) error {
	var enrolled []Device
	err := l.Store.Update(ctx, func(tx state.Tx) error {
		enrolled = nil
		if _, err := wanted.Get(tx, model); err != nil { // read: see request
			return err
		}
		ds, err := waitingFor(tx, model)
		if err != nil {
			return err
		}
		e := journal.Event{Type: journal.Download, Actor: journal.Server, To: img.Ref.String(), Detail: "done, " + img.Digest}
		if err := errors.Join(images.Put(tx, img), wanted.Delete(tx, model), l.Journal.Record(tx, e)); err != nil {
			return err
		}
		for _, d := range ds {
			l.enroll(&d, img)
			enrolled = append(enrolled, d)
			err := errors.Join(devices.Put(tx, string(d.Name), d), l.Journal.Record(tx, registration(journal.Server, d, "")))
			if err != nil {
				return err
			}
		}
		return nil
	})
	for _, d := range enrolled {
		if err == nil {
			l.restart(d)
		}
	}
	return err
}
