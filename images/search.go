package images

import (
	"context"
	"errors"
	"sync"
	"time"

	"walt/images/source"
)

// askLimit is how long a search in one location may take, or the question for
// what it has under a name.
const askLimit = 30 * time.Second

// Match is an image that a search found.
type Match struct {
	Link    Link
	Models  []Model
	Size    int64 // bytes; as they are stored there
	Created time.Time
	Digest  string // of its manifest; in the docker daemon, its ID
}

// Search looks in all other locations at the same time for images for nodes
// whose name has the word in it, all of them for "", and returns when the last
// one has answered or has had its time. It calls found for each image, in no
// order, and missed once for each location that could not, or not wholly, be
// searched, and tells what is waited for; none of them is called while another is.
// That no docker daemon runs is no miss. The error is that of ctx.
func (l *Library) Search(ctx context.Context, text string, found func(Match), missed func(location string, err error), tell func(note string)) error {
	q := source.ParseQuery(text)
	q.Label = modelsLabel
	var (
		mu sync.Mutex // of the callbacks
		wg sync.WaitGroup
	)
	for _, at := range l.locations() {
		wg.Go(func() { // ends with askLimit, or with ctx
			inTime, cancel := context.WithTimeoutCause(ctx, l.askLimit, source.ErrSlow)
			defer cancel()
			err := at.Search(inTime, q, func(i source.Image) {
				link, ok := newLink(at.Name(), i.Repository, i.Tag)
				image, err := record(at, link.Ref, i)
				if !ok || err != nil {
					return // no image for nodes
				}
				mu.Lock()
				defer mu.Unlock()
				found(Match{link, image.Models, image.Size, image.Created, image.Digest})
			}, func(note string) {
				mu.Lock()
				defer mu.Unlock()
				tell(note)
			})
			if err == nil || ctx.Err() != nil || errors.Is(err, source.ErrNotRunning) {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			missed(at.Name(), asFault(at, err))
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// Matches reports whether a search for the text finds what has the name.
func (r Ref) Matches(text string) bool { return source.ParseQuery(text).Matches(r.repository(), r.Tag) }

// Offer is what a location has under some name.
type Offer struct {
	Location string
	Digest   string // of its manifest; the ID of one in the docker daemon that is not here
	Created  time.Time
	Err      error // why there is none: a fault that names the location
	// Asked says that the location answered, whether it has such an image or not.
	Asked bool
}

// Offers asks all other locations at the same time what they have under the
// name, in the order of Locations, and downloads no layers. A docker daemon that
// does not run is left out.
func (l *Library) Offers(ctx context.Context, ref Ref) []Offer {
	all := l.locations()
	offers := make([]Offer, len(all))
	var wg sync.WaitGroup
	for i, at := range all {
		wg.Go(func() { offers[i] = l.offer(ctx, at, ref) }) // ends with askLimit, or with ctx
	}
	wg.Wait()
	var present []Offer
	for _, o := range offers {
		if !errors.Is(o.Err, source.ErrNotRunning) {
			present = append(present, o)
		}
	}
	return present
}

func (l *Library) offer(ctx context.Context, at source.Location, ref Ref) Offer {
	o := Offer{Location: at.Name()}
	inTime, cancel := context.WithTimeoutCause(ctx, l.askLimit, source.ErrSlow)
	defer cancel()
	_, image, err := look(inTime, at, ref, "", func(string) {})
	e, ok := errors.AsType[*source.Error](err)
	o.Asked = err == nil || ok && (e.Absent || e.Found)
	switch {
	case err == nil:
		o.Digest, o.Created = image.Digest, image.Created
	case ctx.Err() != nil:
		o.Err = context.Cause(ctx)
	case errors.Is(err, source.ErrNotRunning):
		o.Err = err
	default:
		o.Err = asFault(at, err)
	}
	return o
}
