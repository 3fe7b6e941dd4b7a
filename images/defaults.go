package images

import (
	"context"
	"errors"
	"time"

	"walt/auth"
	"walt/fault"
	"walt/journal"
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

// Obtain downloads the default image of a model unless it is here, for one who
// cannot go on without it.
func (c *Catalog) Obtain(ctx context.Context, model Model) error {
	here, err := state.Read(ctx, c.Store, func(r state.Reader) (bool, error) {
		_, here, err := Find(r, DefaultRef(model))
		return here, err
	})
	if here || err != nil {
		return err
	}
	img, err := c.fetchDefault(ctx, model, nil)
	if err != nil {
		return err
	}
	return c.arrive(ctx, model, img)
}

// fetchDefault downloads the content of the model's default image and checks
// that it is for that model.
func (c *Catalog) fetchDefault(ctx context.Context, model Model, report func(Progress)) (Image, error) {
	img, err := c.Content.Fetch(ctx, DefaultRef(model), report)
	if err == nil && !img.Boots(model) {
		err = fault.Failedf("%s does not list the model %s in its label walt.node.models", img.Ref, model).
			WithHint("publish a default image that does")
	}
	return img, err
}

// arrive makes a downloaded default image visible, unless another download was
// first, and free nodes of the devices that waited for it.
func (c *Catalog) arrive(ctx context.Context, model Model, img Image) error {
	_, err := c.Nodes.Change(ctx, auth.Server, func(tx Change) error {
		_, here, err := Find(tx, img.Ref)
		if err == nil && !here {
			e := journal.Event{Type: journal.Download, Actor: journal.Server, To: img.Ref.String(), Detail: "done, " + img.Digest}
			err = errors.Join(Put(tx, img), c.Journal.Record(tx, e))
		}
		return errors.Join(err, Unwant(tx, model), tx.Enroll(model, img))
	})
	return err
}
