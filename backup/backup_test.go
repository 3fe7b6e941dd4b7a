package backup_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"walt/backup"
	"walt/fault"
)

const blob = "images/blobs/sha256/"

// digest is the name that content has among the blobs.
func digest(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// fill writes files, by their paths below dir.
func fill(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// content returns all files below dir.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(dir, name))
		found[name] = string(text)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return found
}

// TestKillLeavesNothing looks at the directory while the store is written, as a kill would
// leave it: what is written then has no name.
func TestKillLeavesNothing(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	files := map[string]string{"keys/ssh_host_ed25519_key": "secret", blob + digest("layer"): "layer"}
	fill(t, data, files)
	_, err := backup.Write(t.Context(), data, func(_ context.Context, w io.Writer) error {
		_, err := io.WriteString(w, "rows")
		if left := content(t, data); !maps.Equal(left, files) {
			t.Errorf("a kill would leave %q", left)
		}
		return err
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
}

func writeStore(_ context.Context, w io.Writer) error {
	_, err := io.WriteString(w, "rows")
	return err
}

// readStore keeps the content of the store in a file.
func readStore(data string, r io.Reader) error {
	rows, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(data, "store"), rows, 0o600)
}

// archive returns the archive of a data directory.
func archive(t *testing.T) (packed []byte, files map[string]string) {
	t.Helper()
	data := t.TempDir()
	files = map[string]string{
		"keys/ssh_host_ed25519_key": "secret",
		blob + digest("layer"):      "layer",
		blob + digest("config"):     "config",
	}
	fill(t, data, files)
	fill(t, data, map[string]string{"state/engine": "is not copied", "images/trees/x": "can be made again"})
	var w bytes.Buffer
	if _, err := backup.Write(t.Context(), data, writeStore, &w); err != nil {
		t.Fatal(err)
	}
	if entries, _ := filepath.Glob(filepath.Join(data, "backup-*")); len(entries) > 0 {
		t.Errorf("left behind: %q", entries)
	}
	files["store"] = "rows"
	return w.Bytes(), files
}

func TestRestoreWhatWasWritten(t *testing.T) {
	t.Parallel()
	packed, files := archive(t)
	missing := filepath.Join(t.TempDir(), "some", "where")
	for _, data := range []string{t.TempDir(), missing} {
		if _, err := backup.Restore(t.Context(), data, readStore, bytes.NewReader(packed)); err != nil {
			t.Fatal(err)
		}
		if got := content(t, data); !maps.Equal(got, files) {
			t.Errorf("restored %q\nwant %q", got, files)
		}
		if info, err := os.Stat(data); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("the data directory: %v, %v", info.Mode(), err)
		}
	}
}

// TestStoreComesFirst: content that appears after the store was written does
// no harm, content that the store names and that is gone would.
func TestStoreComesFirst(t *testing.T) {
	t.Parallel()
	packed, _ := archive(t)
	if h, err := tar.NewReader(bytes.NewReader(packed)).Next(); err != nil || h.Name != "state" {
		t.Errorf("first: %+v, %v", h, err)
	}
}

func TestHalfAnArchiveIsNone(t *testing.T) {
	t.Parallel()
	packed, _ := archive(t)
	for size := 0; size <= len(packed)-1536; size += 256 { // then come the last entry's few bytes, and tar's end
		refuses(t, packed[:size], readStore, "EOF")
	}
}

func TestFailuresLeaveNothing(t *testing.T) {
	t.Parallel()
	packed, _ := archive(t)
	swapped := bytes.Replace(packed, []byte("layer"), []byte("lager"), 1)
	refuses(t, swapped, readStore, digest("layer")+" has another content")
	refuses(t, packed, func(string, io.Reader) error { return errors.New("disk full") }, "disk full")
	for _, name := range []string{"../keys/x", "keys/../../x", "/keys/x", "keysx", "keys", "images/x", "images/blobs/../x"} {
		var w bytes.Buffer
		foreign := tar.NewWriter(&w)
		err := foreign.WriteHeader(&tar.Header{Name: name, Mode: 0o600})
		if err := errors.Join(err, foreign.Close()); err != nil {
			t.Fatal(err)
		}
		refuses(t, w.Bytes(), readStore, "not a backup of walt")
	}

	broken := errors.New("damaged row")
	var w bytes.Buffer
	_, err := backup.Write(t.Context(), t.TempDir(), func(context.Context, io.Writer) error { return broken }, &w)
	if !errors.Is(err, broken) {
		t.Errorf("a store that cannot be written: %v", err)
	}
	refuses(t, w.Bytes(), readStore, "damaged or cut short")
}

// TestIncomplete leaves entries out of an archive that is whole otherwise.
func TestIncomplete(t *testing.T) {
	t.Parallel()
	packed, _ := archive(t)
	without := func(kept func(name string) bool, last string) []byte {
		var w bytes.Buffer
		from, to := tar.NewReader(bytes.NewReader(packed)), tar.NewWriter(&w)
		for {
			h, err := from.Next()
			if err == io.EOF {
				break
			}
			text, readErr := io.ReadAll(from)
			if err := errors.Join(err, readErr); err != nil {
				t.Fatal(err)
			}
			if h.Name == "complete" && last != "as it was" {
				text = []byte(last)
				h.Size = int64(len(last))
			} else if !kept(h.Name) {
				continue
			}
			if err := to.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
			if _, err := to.Write(text); err != nil {
				t.Fatal(err)
			}
		}
		if err := to.Close(); err != nil {
			t.Fatal(err)
		}
		return w.Bytes()
	}
	isBlob := func(name string) bool { return strings.HasPrefix(name, blob) }
	all := func(string) bool { return true }
	refuses(t, without(func(name string) bool { return name != "state" }, "as it was"), readStore, "lacks the store")
	refuses(t, without(func(name string) bool { return !isBlob(name) }, "as it was"), readStore, "files")
	refuses(t, without(func(string) bool { return false }, ""), readStore, "lacks the store")
	refuses(t, without(func(name string) bool { return name == "state" }, ""), readStore, "lacks the server's keys")
	refuses(t, without(all, "many"), readStore, "damaged")
	// The first archives did not tell how many files they have.
	if _, err := backup.Restore(t.Context(), t.TempDir(), readStore, bytes.NewReader(without(all, ""))); err != nil {
		t.Errorf("an archive with an empty last entry: %v", err)
	}
}

// refuses checks that an archive is not restored and that nothing is left.
func refuses(t *testing.T, packed []byte, store func(string, io.Reader) error, why string) {
	t.Helper()
	parent := t.TempDir()
	_, err := backup.Restore(t.Context(), filepath.Join(parent, "data"), store, bytes.NewReader(packed))
	if err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("got %v, want %q", err, why)
	}
	if left := content(t, parent); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestRestoreKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	packed, _ := archive(t)
	data := t.TempDir()
	fill(t, data, map[string]string{"mine": "1"})
	_, err := backup.Restore(t.Context(), data, readStore, bytes.NewReader(packed))
	if fault.As(err) == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("into a directory that is in use: %v", err)
	}
	other := filepath.Join(t.TempDir(), "data")
	fill(t, other+".restoring", map[string]string{"theirs": "1"})
	if _, err := backup.Restore(t.Context(), other, readStore, bytes.NewReader(packed)); fault.As(err) == nil {
		t.Errorf("beside another restore: %v", err)
	}
	if len(content(t, data)) != 1 || len(content(t, other+".restoring")) != 1 {
		t.Error("files of others were removed")
	}
}

// TestRestoreReplacesNothing: neither a file, the backup itself perhaps, nor a
// symbolic link gives way to the data directory.
func TestRestoreReplacesNothing(t *testing.T) {
	t.Parallel()
	packed, files := archive(t)
	parent := t.TempDir()
	fill(t, parent, map[string]string{"file": "mine"})
	link := func(name, to string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(parent, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("to-file", "file")
	link("to-nothing", "missing")
	link("to-empty", "disk/empty")
	if err := os.MkdirAll(filepath.Join(parent, "disk", "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, why := range map[string]string{"file": "not a directory", "to-file": "not a directory", "to-nothing": "symbolic link to what does not exist"} {
		_, err := backup.Restore(t.Context(), filepath.Join(parent, name), readStore, bytes.NewReader(packed))
		if f := fault.As(err); f == nil || !strings.Contains(f.Msg, why) || f.Hint == "" {
			t.Errorf("%s: %v, want %q", name, err, why)
		}
	}
	if got, err := os.ReadFile(filepath.Join(parent, "file")); string(got) != "mine" {
		t.Errorf("the file has %q, %v", got, err)
	}
	if _, err := backup.Restore(t.Context(), filepath.Join(parent, "to-empty"), readStore, bytes.NewReader(packed)); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(filepath.Join(parent, "to-empty")); err != nil || to != "disk/empty" {
		t.Errorf("the link is %q, %v", to, err)
	}
	if got := content(t, filepath.Join(parent, "disk", "empty")); !maps.Equal(got, files) {
		t.Errorf("behind the link: %q", got)
	}
}

// TestOneArchive refuses what was put together of several, or by other tools.
func TestOneArchive(t *testing.T) {
	t.Parallel()
	packed, _ := archive(t)
	refuses(t, slices.Concat(packed, packed), readStore, "something follows its end")
	refuses(t, append(slices.Clone(packed), "more"...), readStore, "something follows its end")
	refuses(t, slices.Concat(packed[:len(packed)-1024], packed), readStore, "something follows its last entry")
	padded := append(slices.Clone(packed), make([]byte, 10240)...)
	if _, err := backup.Restore(t.Context(), t.TempDir(), readStore, bytes.NewReader(padded)); err != nil {
		t.Errorf("with a block of zeros: %v", err)
	}

	key := tar.Header{Name: "keys/ssh_host_ed25519_key", Mode: 0o600}
	store := tar.Header{Name: "state", Mode: 0o600}
	last := tar.Header{Name: "complete", Mode: 0o600}
	link := tar.Header{Name: "keys/ssh_host_ed25519_key", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}
	linked := tar.Header{Name: "state", Typeflag: tar.TypeLink, Linkname: "keys/ssh_host_ed25519_key"}
	for why, headers := range map[string][]tar.Header{
		"ssh_host_ed25519_key is there twice":    {store, key, key, last},
		`"keys/ssh_host_ed25519_key" is no file`: {store, link, last},
		`"state" is no file`:                     {key, linked, last},
		`it holds "state"`:                       {store, key, store, last},
		`"complete" is no file`:                  {store, key, {Name: "complete", Typeflag: tar.TypeSymlink, Linkname: "x"}},
		"lacks the store":                        {key, last, store},
		"lacks the server's keys":                {store, last, key},
		"something follows its last entry":       {store, key, last, key},
	} {
		var w bytes.Buffer
		to := tar.NewWriter(&w)
		for _, h := range headers {
			if err := to.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
		}
		if err := to.Close(); err != nil {
			t.Fatal(err)
		}
		refuses(t, w.Bytes(), readStore, why)
	}
	// Files with other sizes are all there.
	other := bytes.Replace(packed, []byte("3 17\n"), []byte("3 18\n"), 1)
	refuses(t, other, readStore, "17 bytes in all, not the 18")
}

func TestContentsInWords(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "0 files of", 1: "1 file of", 2: "2 files of"} {
		if got := (backup.Contents{Files: n}).String(); !strings.Contains(got, want) {
			t.Errorf("%d: %s", n, got)
		}
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	packed, _ := archive(t)
	ctx, cancel := context.WithCancel(t.Context())
	store := func(data string, r io.Reader) error {
		cancel()
		return readStore(data, r)
	}
	parent := t.TempDir()
	_, err := backup.Restore(ctx, filepath.Join(parent, "data"), store, bytes.NewReader(packed))
	if f := fault.As(err); f == nil || f.Kind != fault.Interrupted {
		t.Errorf("got %v", err)
	}
	if left := content(t, parent); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
