package reach

import (
	"bytes"
	"io"
	"testing"

	"walt/fault"
)

// stream is one whose reading ends with err.
type stream struct {
	io.Writer
	err error
}

func (s stream) Read([]byte) (int, error) { return 0, s.err }
func (s stream) Close() error             { return nil }

// The log tells whose files were open, by one event for many copies at once, and why they were
// cut; users are told that by their clients.
func TestFilesAreLogged(t *testing.T) {
	t.Parallel()
	l := newLab(t).still()
	var open []io.Closer
	for range 3 {
		f := l.Files("bob", "n1", stream{new(bytes.Buffer), io.EOF})
		if n, err := f.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("%d, %v", n, err)
		}
		open = append(open, f)
	}
	for _, f := range open {
		ok(t, f.Close())
		ok(t, f.Close())
	}
	f := l.Files("bob", "n2", stream{new(bytes.Buffer), fault.Failedf("n2 changed hands")})
	if _, err := f.Read(make([]byte, 1)); fault.As(err) == nil {
		t.Error(err)
	}
	ok(t, f.Close())
	l.open(t, "bob", "n1", 22).Close()
	l.Close()
	equal(t, l.told(t),
		"reach bob n1: its files, for 0s, 3 times (3)",
		"reach bob n1: port 22, for 0s (1)",
		"reach bob n2: its files, for 0s; cut: n2 changed hands (1)")
	texts, err := l.Journal.Unseen(t.Context(), "bob")
	ok(t, err)
	if len(texts) > 0 {
		t.Errorf("bob is told %q", texts)
	}
}
