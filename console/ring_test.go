package console

import (
	"bytes"
	"path/filepath"
	"testing"
)

// A line that is written to without end keeps the last of it.
func TestRing(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "log")
	r, err := OpenRing(name, 100)
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for i := range 60 {
		part := bytes.Repeat([]byte{'a' + byte(i%26)}, 1+i%37)
		all = append(all, part...)
		if n, err := r.Write(part); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
		if i%7 == 0 { // as at a restart
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			if r, err = OpenRing(name, 100); err != nil {
				t.Fatal(err)
			}
		}
		got, err := r.Content()
		if err != nil || !bytes.HasSuffix(all, got) || len(got) > 200 || len(got) < min(len(all), 60) {
			t.Fatalf("after %d bytes: %q, %v", len(all), got, err)
		}
	}
	if n, err := r.Write(bytes.Repeat([]byte("0123456789"), 30)); n != 300 || err != nil {
		t.Fatal(n, err)
	}
	if got, err := r.Content(); err != nil || !bytes.HasSuffix(got, bytes.Repeat([]byte("0123456789"), 10)) {
		t.Errorf("%q, %v", got, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}
