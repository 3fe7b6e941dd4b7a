package source

import (
	"context"
	"errors"
	"fmt"
	"io"

	"walt/images/content"
)

// Archived says which image of an archive is wanted.
type Archived struct {
	// In is the archive, compressed or not. It may be read until its end after it is
	// not wanted any more.
	In       io.Reader
	Image    string // how it is called there; "" for the only one
	As       string // repository that it is to be here, for what needs a name
	Platform string // which of several variants; "" for that for the machines of the image
}

// sent is what an archive is called that somebody sends.
type sent string

func (s sent) String() string { return string(s) }

// Sent is the archive that somebody sends, in errors.
const Sent = sent("the archive")

var (
	// errNoImage says that an archive is none of images.
	errNoImage = errors.New("it has no image")
	// errNothing says that nothing came.
	errNothing = errors.New("nothing came")
)

// Load stores an image of an archive that came from somewhere else: `docker save`
// wrote it, or podman, or skopeo, or what else packs an OCI image layout. Nothing is
// stored unless accept, which is shown what the image says of itself, returns nil.
// All of it is verified. report is as for Fetch, Total being unknown until the end.
// Errors are as those of a Location.
func Load(ctx context.Context, store *content.Store, platforms Platforms, which Archived, accept func(Image) error, report func(Progress)) (Image, error) {
	i, err := load(ctx, store, platforms, which, accept, report)
	return i, explainLoad(ctx, err)
}

func load(ctx context.Context, store *content.Store, platforms Platforms, which Archived, accept func(Image) error, report func(Progress)) (Image, error) {
	in, stop := interruptible(ctx, which.In)
	defer stop()
	r, err := content.Decompress(&reportingReader{r: in, report: report})
	if err != nil {
		return Image{}, &readError{err, 0}
	}
	defer r.Close()
	a, err := unpackArchive(ctx, Sent, store, r, func(b content.Blob) {
		report(Progress{Layer: string(b.Digest), Done: b.Size, Total: b.Size, Finished: true})
	})
	if err != nil {
		return Image{}, err
	}
	defer a.remove()
	_, _ = io.CopyN(io.Discard, r, paddingLimit) // who packed it has an error when nobody reads that
	p, err := a.pick(which.Image)
	if err != nil {
		return Image{}, err
	}
	raw, kind, err := p.open(ctx)
	if err != nil {
		return Image{}, err
	}
	f := finder{a, platforms, "take one all the same with: image load --platform PLATFORM NAME"}
	i, _, err := f.find(ctx, Image{Repository: which.As}, raw, kind, which.Platform)
	if err == nil {
		err = accept(i)
	}
	if err != nil {
		return Image{}, err
	}
	return i.Fetch(ctx, report)
}

// interruptible reads r for one who must not wait for it any more when ctx ends; stop
// is called when no more of it is wanted.
func interruptible(ctx context.Context, r io.Reader) (_ io.Reader, stop func()) {
	out, in := io.Pipe()
	go func() { // ends with r
		_, err := io.Copy(in, r)
		in.CloseWithError(err)
	}()
	end := context.AfterFunc(ctx, func() { out.CloseWithError(context.Cause(ctx)) })
	return out, func() {
		end()
		out.Close()
	}
}

// paddingLimit is how much may follow the end of an archive: tar fills a block up.
const paddingLimit = 1 << 20

// reportingReader reports how much was read.
type reportingReader struct {
	r       io.Reader
	report  func(Progress)
	n, told int64
}

// reportStep is after how many bytes that is reported.
const reportStep = 1 << 20

func (r *reportingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if r.n += int64(n); r.n-r.told >= reportStep {
		r.told = r.n
		r.report(Progress{Done: r.n})
	}
	if r.n == 0 && err == io.EOF {
		err = errNothing
	}
	return n, err
}

// explainLoad puts an error of loading an archive into words, as a Registry does.
func explainLoad(ctx context.Context, err error) error {
	if e, done := common(ctx, Sent, err); done {
		return e
	}
	hint := "send it again: docker save IMAGE | ssh walt@SERVER image load NAME"
	bad, unread := errors.AsType[*readError](err)
	full := content.DiskFull(err)
	switch {
	case full != nil:
		return &Error{Msg: full.Msg, Hint: full.Hint}
	case errors.Is(err, errNothing):
		return &Error{Msg: "nothing came on standard input", Hint: hint}
	case errors.Is(err, errNoImage), unread && bad.files == 0:
		return &Error{Msg: "that is no archive of an image, as docker save and skopeo write them", Hint: hint}
	case unread && errors.Is(err, io.ErrUnexpectedEOF):
		return &Error{Msg: "the archive ends in the middle: not all of it came", Hint: hint}
	case unread:
		return &Error{Msg: fmt.Sprintf("the archive was damaged on its way: %v", bad.err), Hint: hint}
	case errors.Is(err, content.ErrMismatch):
		return &Error{Msg: fmt.Sprintf("the archive is not what it says (%v)", err), Hint: hint, Err: err}
	}
	return err
}
