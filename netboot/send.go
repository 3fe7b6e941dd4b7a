package netboot

import (
	"io"
	"net/http"
	"time"
)

// fileLimit is how long a machine may take for a file that it starts with.
const fileLimit = 10 * time.Minute

// SendFile sends a file of a kind, a MIME type, or the range of it that is asked for, and calls
// sent with how many bytes that were. When it fails nothing was sent, not even a status.
func SendFile(w http.ResponseWriter, r *http.Request, kind string, f io.ReadSeeker, sent func(bytes int64, took time.Duration)) error {
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(fileLimit)); err != nil {
		return err
	}
	w.Header().Set("Content-Type", kind)
	began, out := time.Now(), &counter{ResponseWriter: w}
	http.ServeContent(out, r, "", time.Time{}, f)
	sent(out.bytes, time.Since(began))
	return nil
}

// counter counts the bytes of an answer.
type counter struct {
	http.ResponseWriter
	bytes int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.bytes += int64(n)
	return n, err
}

// ReadFrom has the system send files by itself.
func (c *counter) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(c.ResponseWriter, r)
	c.bytes += n
	return n, err
}

// Unwrap is for http.ResponseController.
func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }
