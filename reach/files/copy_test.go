package files

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"walt/fault"
	"walt/reach/files/wire"
)

func write(t *testing.T, name, content string, mode fs.FileMode) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), mode)); err != nil {
		t.Fatal(err)
	}
}

func TestCopy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir+"/d/one", "one", 0o600)
	write(t, dir+"/d/e/two", strings.Repeat("two", 1<<20), 0o755)
	if err := os.Symlink("one", dir+"/d/link"); err != nil {
		t.Fatal(err)
	}
	folders := fakeFolders{"n1": host, "n2": host}
	done, err := Copy(t.Context(), folders, "n1:"+dir+"/d", "n2:"+dir+"/copy", true)
	if err != nil || done.Files != 3 || done.Bytes != 3+3<<20 || len(done.Skipped) > 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	if b, err := os.ReadFile(dir + "/copy/e/two"); err != nil || string(b) != strings.Repeat("two", 1<<20) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if info, err := os.Stat(dir + "/copy/link"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := Copy(t.Context(), folders, "n1:"+dir+"/d/one", "n2:"+dir+"/copy/e", false); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(dir + "/copy/e/one"); err != nil || string(b) != "one" {
		t.Errorf("%q, %v", b, err)
	}
	for want, try := range map[string][2]string{
		"is a directory":        {"n1:" + dir + "/d", "n2:" + dir + "/x"},
		"there is no such file": {"n1:" + dir + "/nothing", "n2:" + dir + "/x"},
		"there is no n3":        {"n1:" + dir + "/d/one", "n3:/x"},
		"cannot write":          {"n1:" + dir + "/d/one", "n2:" + dir + "/no/x"},
		"neither a file nor a":  {"n1:/dev/null", "n2:" + dir + "/x"},
	} {
		if _, err := Copy(t.Context(), folders, try[0], try[1], false); fault.As(err) == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, not %s", try, err, want)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(fault.Failedf("interrupted"))
	if _, err := Copy(ctx, folders, "n1:"+dir+"/d/one", "n2:"+dir+"/y", false); err == nil {
		t.Error("it is copied for nobody")
	}
}

// A node each of whose directories has another in it is not copied for ever.
func TestCopyOfWhatNeverEnds(t *testing.T) {
	t.Parallel()
	told := map[string]bool{}
	bad := opened(func(kind uint8, id uint32, p *parser) []byte {
		switch kind {
		case wire.Stat, wire.Lstat:
			return packet(wire.Attrs, id, wire.HasMode, 0o40755)
		case wire.Readdir:
			if told["it"] = !told["it"]; told["it"] {
				return packet(wire.Name, id, 1, "d", "d", wire.HasMode, 0o40755)
			}
			return status(nil, id, wire.CodeEOF, "")
		}
		return status(nil, id, wire.CodeFailure, "")
	})
	sink := node(func(kind uint8, id uint32, _ *parser) []byte {
		if kind == wire.Stat {
			return packet(wire.Attrs, id, wire.HasMode, 0o40755)
		}
		return status(nil, id, wire.CodeOK, "")
	})
	if _, err := Copy(t.Context(), fakeFolders{"bad": bad, "sink": sink}, "bad:/d", "sink:/d", true); err == nil || !strings.Contains(err.Error(), "too many directories") {
		t.Error(err)
	}
}

// A node that is copied from does not say by links where its files go: a name that it lists
// twice, or that was a link in an earlier copy, stays in the directory that was named.
func TestCopyWritesThroughNoLink(t *testing.T) {
	t.Parallel()
	const link, file, directory = 0o120777, 0o100644, 0o40755
	for name, modes := range map[string][]int{"a link, then a file": {link, file}, "a link, then a directory": {link, directory}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, dir+"/secret/x", "mine", 0o644)
			target := dir + "/secret/x"
			if modes[1] == directory {
				target = dir + "/secret"
			}
			bad := func(modes ...int) func(context.Context) (Folder, error) {
				listed, read := 0, false
				return opened(func(kind uint8, id uint32, p *parser) []byte {
					path := string(p.text())
					switch kind {
					case wire.Stat, wire.Lstat:
						if strings.Contains(path, "/x") && !strings.HasSuffix(path, "/x/x") {
							return packet(wire.Attrs, id, wire.HasMode, modes[len(modes)-1])
						}
						return packet(wire.Attrs, id, wire.HasMode, directory)
					case wire.Fstat:
						return packet(wire.Attrs, id, wire.HasMode, file)
					case wire.Readlink:
						return packet(wire.Name, id, 1, target, "", 0)
					case wire.Readdir:
						if listed++; listed > len(modes) {
							if listed == len(modes)+2 && modes[len(modes)-1] == directory {
								return packet(wire.Name, id, 1, "x", "", wire.HasMode, file)
							}
							return status(nil, id, wire.CodeEOF, "")
						}
						return packet(wire.Name, id, 1, "x", "", wire.HasMode, modes[listed-1])
					case wire.Read:
						if read = !read; read {
							return packet(wire.Data, id, "evil")
						}
						return status(nil, id, wire.CodeEOF, "")
					}
					return status(nil, id, wire.CodeFailure, "")
				})
			}
			stays := func(after string) {
				t.Helper()
				if b, err := os.ReadFile(dir + "/secret/x"); err != nil || string(b) != "mine" {
					t.Errorf("%s, elsewhere is %q, %v", after, b, err)
				}
			}
			copied := func(from func(context.Context) (Folder, error), to string) bool {
				_, err := Copy(t.Context(), fakeFolders{"bad": from, "mine": host}, "bad:/d", "mine:"+dir+to, true)
				return err == nil
			}
			if copied(bad(modes...), "/twice") != (modes[1] == file) {
				t.Error("a link is no directory, and gives its place to a file")
			}
			stays("listed twice")
			if err := os.Mkdir(dir+"/again", 0o755); err != nil {
				t.Fatal(err)
			}
			if !copied(bad(link), "/again") || copied(bad(modes[1]), "/again") != (modes[1] == file) {
				t.Error("the same of two copies")
			}
			stays("in a second copy")
		})
	}
}

// What is copied to where it is stays what it is.
func TestCopyToItself(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir+"/d/x", "content", 0o644)
	if err := errors.Join(os.Symlink("x", dir+"/d/link"), os.Symlink("d", dir+"/there")); err != nil {
		t.Fatal(err)
	}
	folders := fakeFolders{"n1": host}
	for _, try := range [][2]string{{"/d/x", "/d/x"}, {"/d/x", "/d"}, {"/d", "/"}, {"/d/", "/"}, {"/there/../d", "/"}} {
		_, err := Copy(t.Context(), folders, "n1:"+dir+try[0], "n1:"+dir+try[1], true)
		if fault.As(err) == nil || !strings.Contains(err.Error(), "are the same") {
			t.Errorf("%q: %v", try, err)
		}
		if b, err := os.ReadFile(dir + "/d/x"); err != nil || string(b) != "content" {
			t.Fatalf("%q: %q, %v", try, b, err)
		}
	}
	// By links, of which not all servers tell.
	if err := os.Link(dir+"/d/x", dir+"/hard"); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"/d/link", "/there/x", "/hard"} {
		_, _ = Copy(t.Context(), folders, "n1:"+dir+"/d/x", "n1:"+dir+to, true)
		if b, err := os.ReadFile(dir + "/d/x"); err != nil || string(b) != "content" {
			t.Fatalf("by %s: %q, %v", to, b, err)
		}
	}
	write(t, dir+"/short", "x", 0o644)
	if _, err := Copy(t.Context(), folders, "n1:"+dir+"/short", "n1:"+dir+"/d/x", false); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(dir + "/d/x"); err != nil || string(b) != "x" {
		t.Errorf("a shorter one over it: %q, %v", b, err)
	}
}

// A directory that is named may be a link, and so may a file.
func TestCopyFollowsWhatIsNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir+"/from/x", "new", 0o644)
	write(t, dir+"/there/y", "old", 0o644)
	if err := errors.Join(os.Symlink("there", dir+"/link"), os.Symlink("y", dir+"/there/x")); err != nil {
		t.Fatal(err)
	}
	folders := fakeFolders{"n1": host}
	for _, to := range []string{"/link", "/there/x"} {
		write(t, dir+"/there/y", "old", 0o644)
		if _, err := Copy(t.Context(), folders, "n1:"+dir+"/from/x", "n1:"+dir+to, false); err != nil {
			t.Error(err)
		}
		if b, err := os.ReadFile(dir + "/there/y"); err != nil || string(b) != "new" {
			t.Errorf("by %s: %q, %v", to, b, err)
		}
	}
}

// A node that lists files without an end takes no more memory of the server than an honest one
// may, also with lists in lists.
func TestCopyOfEndlessLists(t *testing.T) { // before those that measure memory
	for name, entry := range map[string][]any{
		"long attributes": {"a", "", -1 << 31, 1, "x", strings.Repeat("x", 200<<10)},
		"directories":     {"d", "", wire.HasMode, 0o40755},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entries := 10_000
			if name == "long attributes" {
				entries = 1
			}
			fields := []any{entries}
			for range entries {
				fields = append(fields, entry...)
			}
			listed := 0
			bad := opened(func(kind uint8, id uint32, p *parser) []byte {
				switch kind {
				case wire.Stat, wire.Lstat:
					return packet(wire.Attrs, id, wire.HasMode, 0o40755)
				case wire.Readdir:
					if listed++; name == "directories" && listed%4 == 0 {
						return status(nil, id, wire.CodeEOF, "")
					}
					return packet(wire.Name, id, fields...)
				}
				return status(nil, id, wire.CodeFailure, "")
			})
			sink := node(func(kind uint8, id uint32, _ *parser) []byte {
				if kind == wire.Stat {
					return packet(wire.Attrs, id, wire.HasMode, 0o40755)
				}
				return status(nil, id, wire.CodeOK, "")
			})
			_, err := Copy(t.Context(), fakeFolders{"bad": bad, "sink": sink}, "bad:/d", "sink:/d", true)
			if most := 2 * mostListed / perName / entries; err != errListed || listed > most {
				t.Errorf("%v, after %d lists", err, listed)
			}
		})
	}
}
