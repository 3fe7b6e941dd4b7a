package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"walt/images/content"
)

// resumeLimit is how often the download of one blob is taken up again.
const resumeLimit = 5

// resumer reads a blob; when the connection breaks it asks for the rest of it. A
// registry that cannot send a part ends it with the error that there was.
type resumer struct {
	ctx     context.Context
	repo    *repository
	blob    content.Blob
	body    io.ReadCloser
	pos     int64
	resumed int
}

func (r *resumer) Read(p []byte) (int, error) {
	for {
		n, err := r.body.Read(p)
		r.pos += int64(n)
		if n > 0 {
			return n, nil
		}
		if err == nil || err == io.EOF || !r.resume(err) {
			return 0, err
		}
	}
}

// resume asks for the rest, unless err says that it is of no use.
func (r *resumer) resume(err error) bool {
	if r.ctx.Err() != nil || errors.Is(err, errStalled) || r.pos >= r.blob.Size || r.resumed == resumeLimit {
		return false
	}
	r.resumed++
	req := r.repo.request(r.ctx, http.MethodGet, r.repo.at("blobs", string(r.blob.Digest)))
	status := http.StatusOK
	if r.pos > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", r.pos))
		status = http.StatusPartialContent
	}
	resp, err := r.repo.ask("", req, status)
	if err != nil {
		return false
	}
	if r.pos == 0 {
		r.body.Close()
		r.body = resp.Body
		return true
	}
	// some answer 206 with something else than they were asked for
	if resp.Header.Get("Content-Range") != fmt.Sprintf("bytes %d-%d/%d", r.pos, r.blob.Size-1, r.blob.Size) {
		resp.Body.Close()
		return false
	}
	r.body.Close()
	r.body = resp.Body
	return true
}

func (r *resumer) Close() error { return r.body.Close() }
