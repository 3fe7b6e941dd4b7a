package images

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"walt/fault"
	"walt/images/source"
)

// Progress is how far a download or an upload is.
type Progress = source.Progress

// Fetch brings the content of the image that other locations call ref, from the
// first of them that has it, registries before the docker daemon, and returns
// the record it would have, without writing it. What is here already is not
// downloaded again. A location that does not have it, or cannot be asked, passes
// the question to the next one; an image that is found but is damaged, or is no
// image for nodes, does not. Errors are faults that say what was tried where;
// whole layers are kept for the next try. report may be nil; it is called by
// several goroutines, but never by two at once.
func (l *Library) Fetch(ctx context.Context, ref Ref, report func(Progress)) (Image, error) {
	var tried []*source.Error
	for _, from := range l.locations() {
		image, err := fetch(ctx, from, ref, "", report)
		if err == nil {
			return image, nil
		}
		if ctx.Err() == nil && errors.Is(err, source.ErrNotRunning) {
			continue // that no docker daemon runs is no news
		}
		e, err := locationError(ctx, from, ref, err)
		if err != nil {
			return Image{}, err
		}
		tried = append(tried, e)
		if e.Found {
			break
		}
	}
	if len(tried) == 0 {
		return Image{}, fault.Failedf("the image %s cannot be downloaded: no registry is configured", ref).
			WithHint("an administrator can add a [[registry]] to the configuration")
	}
	return Image{}, notDownloaded(ref, tried)
}

// FetchLink is Fetch from the location that the link names and no other. The
// Ref of the image is the name there. Of several variants the platform says which,
// "" leaves it to the models of the image.
func (l *Library) FetchLink(ctx context.Context, link Link, platform string, report func(Progress)) (Image, error) {
	from, err := l.location(link.Location)
	if err != nil {
		return Image{}, err
	}
	image, err := fetch(ctx, from, link.Ref, platform, report)
	if err == nil {
		return image, nil
	}
	e, err := locationError(ctx, from, link, err)
	if err != nil {
		return Image{}, err
	}
	return Image{}, notDownloaded(link, []*source.Error{e})
}

// Archived says which image of an archive is wanted.
type Archived = source.Archived

// Load brings the content of an image from an archive that somebody sends, and returns
// the record that it would have under a name. What it wants of the archive is read to
// its end. Errors are faults.
func (l *Library) Load(ctx context.Context, which Archived, to Ref, report func(Progress)) (image Image, err error) {
	if report == nil {
		report = func(Progress) {}
	}
	which.As = to.repository()
	loaded, err := source.Load(ctx, l.content, l.machines, which, func(i source.Image) error {
		_, err := record(source.Sent, to, i)
		return err
	}, report)
	if err == nil {
		return record(source.Sent, to, loaded)
	}
	e, err := locationError(ctx, source.Sent, to, err)
	if err != nil {
		return Image{}, err
	}
	return Image{}, fault.Failedf("%s cannot be loaded: %s; nothing changed", to.Short(), e.Msg).WithHint("%s", e.Hint)
}

// Look returns the record that FetchLink would return, without downloading
// layers; of an image in the docker daemon, Digest and Size may differ from it.
// Errors are as for FetchLink.
func (l *Library) Look(ctx context.Context, link Link, platform string, tell func(note string)) (Image, error) {
	from, err := l.location(link.Location)
	if err != nil {
		return Image{}, err
	}
	_, image, err := look(ctx, from, link.Ref, platform, tell)
	if err == nil {
		return image, nil
	}
	e, err := locationError(ctx, from, link, err)
	if err != nil {
		return Image{}, err
	}
	return Image{}, notDownloaded(link, []*source.Error{e})
}

// look describes the image that a location calls ref, and returns the record that
// it would have.
func look(ctx context.Context, at source.Location, ref Ref, platform string, tell func(note string)) (source.Image, Image, error) {
	there, err := at.Look(ctx, ref.repository(), ref.Tag, platform, tell)
	if err != nil {
		return source.Image{}, Image{}, err
	}
	image, err := record(at, ref, there)
	return there, image, err
}

// fetch brings the content of the image that a location calls ref, unless its
// labels say that it is none for nodes.
func fetch(ctx context.Context, from source.Location, ref Ref, platform string, report func(Progress)) (Image, error) {
	if report == nil {
		report = func(Progress) {}
	}
	there, _, err := look(ctx, from, ref, platform, func(note string) { report(Progress{Note: note}) })
	if err != nil {
		return Image{}, err
	}
	here, err := there.Fetch(ctx, report)
	if e, ok := errors.AsType[*source.Error](err); ok {
		e.Found = true
	}
	if err != nil {
		return Image{}, err
	}
	return record(from, ref, here)
}

// locationError returns what a location says for itself, or an error that is no business
// of users.
func locationError(ctx context.Context, at, what fmt.Stringer, err error) (*source.Error, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("fetch %s from %s: %w", what, at, context.Cause(ctx))
	}
	if e, ok := errors.AsType[*source.Error](err); ok {
		return e, nil
	}
	return nil, fmt.Errorf("fetch %s from %s: %w", what, at, err)
}

// notDownloaded makes one fault of what happened in the locations that were asked.
func notDownloaded(image fmt.Stringer, tried []*source.Error) error {
	var msgs, hints []string
	for _, e := range tried {
		msgs = append(msgs, e.Msg)
		if e.Hint != "" {
			hints = append(hints, e.Hint)
		}
	}
	if len(hints) == 0 {
		hints = []string{"see what there is with: image search"}
	}
	return fault.Failedf("the image %s cannot be downloaded: %s", image, strings.Join(msgs, "; ")).WithHint("%s", strings.Join(hints, "\n"))
}

// asFault makes a fault of what a location says for itself.
func asFault(at source.Location, err error) error {
	if e, ok := errors.AsType[*source.Error](err); ok {
		return fault.Failedf("%s", e.Msg).WithHint("%s", e.Hint)
	}
	return fmt.Errorf("ask %s: %w", at, err)
}
