package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// resumeLimit is how often the download of one blob is taken up again.
const resumeLimit = 5

// blob opens a blob of the repository.
func (r *repository) blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	resp, err := r.get(ctx, "blobs", d.Digest.String())
	if err != nil {
		return nil, err
	}
	return &blob{ctx: ctx, repo: r, d: d, body: resp.Body}, nil
}

// blob reads a blob; when the connection breaks it asks for the rest of it. A
// registry that cannot send a part ends it with the error that there was.
type blob struct {
	ctx     context.Context
	repo    *repository
	d       v1.Descriptor
	body    io.ReadCloser
	pos     int64
	resumed int
}

func (b *blob) Read(p []byte) (int, error) {
	for {
		n, err := b.body.Read(p)
		b.pos += int64(n)
		if n > 0 {
			return n, nil
		}
		if err == nil || err == io.EOF || !b.resume(err) {
			return 0, err
		}
	}
}

// resume asks for the rest, unless err says that it is of no use.
func (b *blob) resume(err error) bool {
	if b.ctx.Err() != nil || errors.Is(err, errStalled) || b.pos == 0 || b.pos >= b.d.Size || b.resumed == resumeLimit {
		return false
	}
	b.resumed++
	u := &url.URL{Path: path.Join("/v2", b.repo.path, "blobs", b.d.Digest.String())}
	header := http.Header{"Range": {fmt.Sprintf("bytes=%d-", b.pos)}}
	resp, err := b.repo.ask(b.ctx, u, header, http.StatusPartialContent)
	if err != nil {
		return false
	}
	// some answer 206 with something else than they were asked for
	if resp.Header.Get("Content-Range") != fmt.Sprintf("bytes %d-%d/%d", b.pos, b.d.Size-1, b.d.Size) {
		resp.Body.Close()
		return false
	}
	b.body.Close()
	b.body = resp.Body
	return true
}

func (b *blob) Close() error { return b.body.Close() }
