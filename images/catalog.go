package images

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	"walt/auth"
	"walt/journal"
	"walt/state"
)

// Content is where the content of images comes from and goes to: a *Library.
type Content interface {
	// HasLocation is a fault that names the locations when there is none of that name.
	HasLocation(name string) error
	// Look returns the record that FetchLink would return, without a download.
	Look(ctx context.Context, from Link, platform string, tell func(note string)) (Image, error)
	// FetchLink brings the content of an image from one location and returns the
	// record that it would have; the platform says which of several variants, ""
	// that for its models.
	FetchLink(ctx context.Context, from Link, platform string, report func(Progress)) (Image, error)
	// Load is FetchLink from an archive that somebody sends, for an image that is to
	// have the name.
	Load(ctx context.Context, which Archived, to Ref, report func(Progress)) (Image, error)
	// Fetch is FetchLink from the first location that has the image.
	Fetch(context.Context, Ref, func(Progress)) (Image, error)
	// Offers tells which image each location has under the name.
	Offers(context.Context, Ref) []Offer
	// Search calls found for each image of the locations whose name has the word.
	Search(ctx context.Context, word string, found func(Match), missed func(location string, err error), tell func(note string)) error
	// Platform is what an image that is here is for, "" when it does not say.
	Platform(Image) (string, error)
	// Publish sends an image to a registry, "" is the first one.
	Publish(ctx context.Context, img Image, registry string, report func(Progress)) (Link, error)
}

// Config is what a Catalog works with.
type Config struct {
	Store   state.Store
	Journal *journal.Journal
	Content Content
	Nodes   Nodes // may be set after NewCatalog, before anything else is called
	// Duties says whether this server is the one that downloads default images;
	// nil: it is.
	Duties state.Duties
	Log    *slog.Logger
	Now    func() time.Time
	Retry  time.Duration // the first pause after a failed download; 0: firstPause
}

// Catalog is which images there are: the working sets of the users, and the
// default images. Whatever changes that, by itself or for a user, is here.
type Catalog struct {
	Config
	jobs   jobs
	trials trials
}

// NewCatalog returns the images of a store. Run brings the default ones.
func NewCatalog(c Config) *Catalog {
	if c.Duties == nil {
		c.Duties = state.Alone{}
	}
	c.Retry = cmp.Or(c.Retry, firstPause)
	return &Catalog{Config: c}
}

// All returns every image, ordered by full name.
func (c *Catalog) All(ctx context.Context) ([]Image, error) { return state.Read(ctx, c.Store, All) }

// Sharing returns the other images that have the content of one.
func (c *Catalog) Sharing(ctx context.Context, img Image) ([]Image, error) {
	all, err := c.All(ctx)
	return slices.DeleteFunc(all, func(i Image) bool { return i.Digest != img.Digest || i.Ref == img.Ref }), err
}

// Search calls found for the images of other users, and then for those of other
// locations, that Ref.Matches finds; see Library.Search.
func (c *Catalog) Search(ctx context.Context, user auth.Name, word string, found func(Match), missed func(location string, err error), tell func(note string)) error {
	all, err := c.All(ctx)
	if err != nil {
		return err
	}
	for _, img := range all {
		if img.Ref.User != user && img.Ref.Matches(word) {
			found(Match{Link{Here, img.Ref}, img.Models, img.Size, img.Created, img.Digest})
		}
	}
	return c.Content.Search(ctx, word, found, missed, tell)
}
