package netboot_test

import (
	"net/http"
	"slices"
	"testing"
)

// What a machine asks for in vain by HTTP and NFS is told of, without the secret of a boot.
func TestRefusedFiles(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, token := f.Prepared(one)
	for _, path := range []string{"/boot/" + token + "x", "/vmlinuz", "/kernel/" + token} { // which it was given
		if r, _ := f.request(one, http.MethodGet, path, ""); r.StatusCode == http.StatusOK {
			t.Errorf("it gets %s", path)
		}
	}
	want := []string{
		"one refused HTTP /boot/...: it is of another boot, or was given already",
		"one refused HTTP /vmlinuz: there is no such file",
		"one refused HTTP /kernel/...: it is of another boot, or was given already",
	}
	if !slices.Equal(f.Files(), want) {
		t.Errorf("the lab was told of the files %q, want %q", f.Files(), want)
	}
}
