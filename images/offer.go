package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Offer is what a location has under some name.
type Offer struct {
	Location string
	Digest   string // of its manifest; the ID of one in the docker daemon that is not here
	Created  time.Time
	Err      error // why there is none: a fault that names the location
}

// Offers asks all other locations at the same time what they have under the
// name, in the order of Locations, and downloads no layers. A docker daemon that
// does not run is left out.
func (l *Library) Offers(ctx context.Context, ref Ref) []Offer {
	all := l.locations()
	offers := make([]Offer, len(all))
	var wg sync.WaitGroup
	for i, at := range all {
		wg.Go(func() { offers[i] = l.offer(ctx, at, ref) }) // ends with the patience, or with ctx
	}
	wg.Wait()
	var present []Offer
	for _, o := range offers {
		if !errors.Is(o.Err, errAbsent) {
			present = append(present, o)
		}
	}
	return present
}

// Look returns the record that FetchLink would return, without downloading
// layers; of an image in the docker daemon, Digest and Size may differ from it.
// Errors are as for FetchLink.
func (l *Library) Look(ctx context.Context, link Link) (Image, error) {
	from, err := l.location(link.Location)
	if err != nil {
		return Image{}, err
	}
	image, err := from.look(ctx, l, link.Ref)
	if err == nil {
		return image, nil
	}
	t, err := gave(ctx, from, link, err)
	if err != nil {
		return Image{}, err
	}
	return Image{}, cannot("downloaded", link, []trouble{t})
}

func (l *Library) offer(ctx context.Context, at location, ref Ref) Offer {
	o := Offer{Location: at.name()}
	inTime, cancel := context.WithTimeoutCause(ctx, l.patience, errSlow)
	defer cancel()
	image, err := at.look(inTime, l, ref)
	switch {
	case err == nil:
		o.Digest, o.Created = image.Digest, image.Created
	case ctx.Err() != nil:
		o.Err = context.Cause(ctx)
	case errors.Is(err, errAbsent):
		o.Err = err
	case inTime.Err() != nil:
		o.Err = words(at, context.Cause(inTime))
	default:
		o.Err = words(at, err)
	}
	return o
}

func (s *source) look(ctx context.Context, _ *Library, ref Ref) (Image, error) {
	repo, err := s.open(ctx, string(ref.User)+"/"+ref.Name, transport.PullScope)
	if err != nil {
		return Image{}, err
	}
	return repo.read(ctx, ref)
}

// read returns the record of an image of the repository, from its manifest and
// its config alone.
func (r *repository) read(ctx context.Context, ref Ref) (Image, error) {
	m, err := r.manifest(ctx, ref)
	if err != nil {
		return Image{}, err
	}
	return r.describe(ctx, ref, m)
}

// describe gets the config of a manifest for the record of its image.
func (r *repository) describe(ctx context.Context, ref Ref, m manifest) (Image, error) {
	resp, err := r.get(ctx, "blobs", m.Config.Digest.String())
	if err != nil {
		return Image{}, err
	}
	defer resp.Body.Close()
	config, err := io.ReadAll(io.LimitReader(resp.Body, configLimit))
	if err != nil {
		return Image{}, err
	}
	if h, _, _ := v1.SHA256(bytes.NewReader(config)); h != m.Config.Digest {
		return Image{}, fmt.Errorf("%s: %w", m.Config.Digest, errContent)
	}
	return describe(r, ref, m, config)
}
