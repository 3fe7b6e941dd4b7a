package source

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

// A connection that breaks in the middle of a layer is taken up where it broke,
// if the registry can, and never believed blindly.
func TestCutLayers(t *testing.T) {
	t.Parallel()
	right := func(w http.ResponseWriter, from int, b []byte) {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(b)-1, len(b)))
		w.WriteHeader(http.StatusPartialContent)
		w.Write(b[from:])
	}
	for name, test := range map[string]struct {
		cuts  int // bytes after which each answer ends, in 1/10
		rest  func(w http.ResponseWriter, from int, b []byte)
		words string // "" when it works
	}{
		"once":           {5, right, ""},
		"several times":  {3, right, ""},
		"too often":      {1, right, "broke the connection"},
		"all again":      {5, func(w http.ResponseWriter, _ int, b []byte) { w.Write(b) }, "broke the connection"},
		"206 without":    {5, func(w http.ResponseWriter, from int, b []byte) { w.WriteHeader(206); w.Write(b[from:]) }, "broke the connection"},
		"206 of another": {5, func(w http.ResponseWriter, from int, b []byte) { right(w, from-1, b) }, "broke the connection"},
		"206 of less":    {5, func(w http.ResponseWriter, from int, b []byte) { right(w, from, b[:len(b)-1]) }, "broke the connection"},
		"refused":        {5, func(w http.ResponseWriter, _ int, _ []byte) { w.WriteHeader(416) }, "broke the connection"},
		"something else": {5, func(w http.ResponseWriter, from int, b []byte) { b[from]++; right(w, from, b) }, "does not match its digest"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, f, url := inLab(t)
			img := bigImage(t)
			push(t, url, pcDefault, img)
			layer := layerDigest(t, img, 0)
			f.Break(func(w http.ResponseWriter, r *http.Request) bool {
				if !asks(r, layer) {
					return false
				}
				from, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-"))
				r.Header.Del("Range")
				rec := httptest.NewRecorder()
				f.Handler.ServeHTTP(rec, r)
				b := rec.Body.Bytes()
				cut := &cutting{ResponseWriter: w, left: len(b) * test.cuts / 10}
				if from > 0 {
					test.rest(cut, from, b)
				} else {
					w.Header().Set("Content-Length", strconv.Itoa(len(b)))
					cut.Write(b)
				}
				return true
			})
			var seen []Progress
			_, err := l.fetch(t.Context(), pcDefault, func(p Progress) { seen = append(seen, p) })
			if test.words == "" {
				if err != nil {
					t.Error(err)
				}
				wantProgress(t, seen, 1)
				return
			}
			wantError(t, err, "registry lab ("+url+")", test.words)
			if left := leftovers(t, l); len(left) > 0 {
				t.Errorf("%v was left", left)
			}
		})
	}
}

// cutting breaks the connection after some bytes.
type cutting struct {
	http.ResponseWriter
	left int
}

func (c *cutting) Write(b []byte) (int, error) {
	if len(b) <= c.left {
		c.left -= len(b)
		return c.ResponseWriter.Write(b)
	}
	c.ResponseWriter.Write(b[:c.left])
	c.ResponseWriter.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}
