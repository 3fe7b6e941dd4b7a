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
		case typeStat, typeLstat:
			return packet(typeAttrs, id, attrPermissions, 0o40755)
		case typeReaddir:
			if told["it"] = !told["it"]; told["it"] {
				return packet(typeName, id, 1, "d", "d", attrPermissions, 0o40755)
			}
			return status(nil, id, codeEOF, "")
		}
		return status(nil, id, codeFailure, "")
	})
	sink := node(func(kind uint8, id uint32, _ *parser) []byte {
		if kind == typeStat {
			return packet(typeAttrs, id, attrPermissions, 0o40755)
		}
		return status(nil, id, codeOK, "")
	})
	if _, err := Copy(t.Context(), fakeFolders{"bad": bad, "sink": sink}, "bad:/d", "sink:/d", true); err == nil || !strings.Contains(err.Error(), "too many directories") {
		t.Error(err)
	}
}
