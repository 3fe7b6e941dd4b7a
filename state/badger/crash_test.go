package badger_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"walt/state/badger"
)

// crashed returns the directory of a store as a kill leaves it, with the rows
// row-0 to row-9 in its log, one commit each.
func crashed(t *testing.T) string {
	t.Helper()
	live, dir := t.TempDir(), t.TempDir()
	b := open(t, live)
	for i := range 10 {
		if err := put(b, fmt.Sprintf("row-%d", i), strings.Repeat("v", 3000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(dir, os.DirFS(live)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// inLog changes the log from where its row of that name begins.
func inLog(row string, change func(b []byte)) func(dir string) error {
	return each("/badger/*.mem", func(file string) error {
		content, err := os.ReadFile(file)
		if err != nil || len(content) == 0 {
			return err
		}
		at := bytes.Index(content, []byte(row))
		if at < 0 {
			return fmt.Errorf("%s does not hold %s", file, row)
		}
		change(content[at:])
		return os.WriteFile(file, content, 0o600)
	})
}

// inPage changes the log's page in which its row of that name begins.
func inPage(row string, change func(b []byte)) func(dir string) error {
	return each("/badger/00001.mem", func(file string) error {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		page := bytes.Index(content, []byte(row)) &^ 4095
		change(content[page : page+4096])
		return os.WriteFile(file, content, 0o600)
	})
}

// cutAt cuts the log in the middle of its row of that name.
func cutAt(row string) func(dir string) error {
	return each("/badger/00001.mem", func(file string) error {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return os.Truncate(file, int64(bytes.Index(content, []byte(row))+10))
	})
}

// TestDamagedLog damages the log of a crashed store. Badger would drop what
// follows in silence.
func TestDamagedLog(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		damage func(dir string) error
		says   string
	}{
		"value changed": {inLog("row-3", func(b []byte) { b[100] ^= 1 }), "record in it is damaged"},
		"key changed":   {inLog("row-3", func(b []byte) { b[2] ^= 0x80 }), "record in it is damaged"},
		"several lost": {inLog("row-3", func(b []byte) {
			for i := range 2000 {
				b[i] = 0xff
			}
		}), "record in it is damaged"},
		"log missing": {func(dir string) error { return each("/badger/*.mem", os.Remove)(dir) }, "log of the last commits is missing"},
		"one of several missing": {each("/badger/00001.mem", func(file string) error {
			content, err := os.ReadFile(file)
			return errors.Join(err, os.WriteFile(strings.Replace(file, "1.mem", "3.mem", 1), content, 0o600))
		}), "is missing between"},
		"the newest missing":  {func(dir string) error { return os.WriteFile(dir+"/open", []byte("0000000002\n"), 0o600) }, "00002.mem, the log of the last commits, is missing"},
		"zeros":               {each("/badger/00001.mem", func(file string) error { return errors.Join(os.Truncate(file, 0), os.Truncate(file, 16<<20)) }), "00001.mem: the commits in it are missing"},
		"cut short":           {cutAt("row-5"), "00001.mem: it is cut short"},
		"first bytes changed": {each("/badger/00001.mem", flipAt(5)), "00001.mem: its first bytes are damaged"},
		"a directory":         {func(dir string) error { return os.Mkdir(dir+"/badger/00007.mem", 0o700) }, "00007.mem is not a file"},
		"keys cut short":      {func(dir string) error { return os.Truncate(dir+"/badger/KEYREGISTRY", 20) }, "KEYREGISTRY"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := crashed(t)
			if err := c.damage(dir); err != nil {
				t.Fatal(err)
			}
			refused(t, dir, c.says)
			refused(t, dir, c.says)
		})
	}
}

// TestCrashLeaves opens what crashes leave that is no damage.
func TestCrashLeaves(t *testing.T) {
	t.Parallel()
	zero := func(n int) func(b []byte) { return func(b []byte) { clear(b[:n]) } }
	for name, c := range map[string]struct {
		left func(dir string) error
		rows int // of the ten
	}{
		"all":                             {func(string) error { return nil }, 10},
		"the last one torn":               {inLog("row-9", zero(1000)), 9},
		"the last one changed":            {inLog("row-9", func(b []byte) { b[50] ^= 1 }), 9},
		"a page never written":            {inLog("row-5", zero(9000)), 5},
		"the end of a page never written": {inPage("row-5", func(b []byte) { clear(b[len(b)-100:]) }), 5},
		"a log not begun":                 {func(dir string) error { return os.WriteFile(dir+"/badger/00002.mem", nil, 0o600) }, 10},
		"a value log not begun":           {func(dir string) error { return os.WriteFile(dir+"/badger/000009.vlog", nil, 0o600) }, 10},
		"a table not listed":              {func(dir string) error { return os.WriteFile(dir+"/badger/000077.sst", []byte("half"), 0o600) }, 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := crashed(t)
			if err := c.left(dir); err != nil {
				t.Fatal(err)
			}
			before := files(t, dir)
			if rows, running, err := badger.Check(dir); err != nil || running || len(rows) < c.rows {
				t.Errorf("Check: %d rows, running %v, %v", len(rows), running, err)
			}
			if after := files(t, dir); !maps.Equal(before, after) {
				t.Errorf("Check made %v of %v", after, before)
			}
			for range 2 {
				b := open(t, dir)
				if got := keys(t, b, "row-"); len(got) != c.rows {
					t.Errorf("kept %v, want %d", got, c.rows)
				}
				if err := b.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestUnusedLog opens a store whose server was killed twice, the second time before
// it wrote anything: its log takes the place of the one that is unused, so that
// none is missing between them if it is killed now.
func TestUnusedLog(t *testing.T) {
	t.Parallel()
	const logBytes = 64 << 20 // of a whole one
	for name, content := range map[string][]byte{"blank": make([]byte, logBytes), "begun": append(append(make([]byte, 20), "\x00\x00\x10\x08\x00half"...), make([]byte, logBytes)...)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := crashed(t)
			if err := os.WriteFile(dir+"/badger/00002.mem", content, 0o600); err != nil {
				t.Fatal(err)
			}
			b := open(t, dir)
			if got := keys(t, b, "row-"); len(got) != 10 {
				t.Errorf("kept %v", got)
			}
			begun := func(log string) bool {
				info, err := os.Stat(dir + "/badger/" + log)
				return err == nil && info.Size() > 0
			}
			if !begun("00002.mem") || begun("00003.mem") {
				t.Errorf("the log of the first number that is free was begun: %v, one behind it: %v", begun("00002.mem"), begun("00003.mem"))
			}
		})
	}
}

// TestDamagedTable damages tables in ways that badger panics at.
func TestDamagedTable(t *testing.T) {
	t.Parallel()
	change := func(f func(content []byte) []byte) func(dir string) error {
		return each("/badger/*.sst", func(file string) error {
			content, err := os.ReadFile(file)
			return errors.Join(err, os.WriteFile(file, f(content), 0o600))
		})
	}
	for name, damage := range map[string]func(dir string) error{
		"half":        change(func(b []byte) []byte { return b[:len(b)/2] }),
		"zeros":       change(func(b []byte) []byte { clear(b); return b }),
		"zero end":    change(func(b []byte) []byte { clear(b[len(b)-100:]); return b }),
		"zero begin":  change(func(b []byte) []byte { clear(b[:100]); return b }),
		"empty":       change(func([]byte) []byte { return nil }),
		"three bytes": change(func(b []byte) []byte { return b[:3] }),
		"long sum":    change(func(b []byte) []byte { binary.BigEndian.PutUint32(b[len(b)-4:], 1<<31); return b }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			b := open(t, dir)
			if err := errors.Join(put(b, "a", strings.Repeat("1", 20_000), "b", "2"), b.Close(), damage(dir)); err != nil {
				t.Fatal(err)
			}
			refused(t, dir, ".sst")
		})
	}
}

// flipAt changes a byte of a file.
func flipAt(offset int) func(file string) error {
	return func(file string) error {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		content[offset] ^= 1
		return os.WriteFile(file, content, 0o600)
	}
}

// files returns the size and time of each file in a directory.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			found[path] = fmt.Sprint(info.Size(), info.ModTime())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// What is not there yet is fine.
func TestCheckOfNothing(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{t.TempDir(), t.TempDir() + "/none"} {
		if rows, running, err := badger.Check(dir); err != nil || running || len(rows) > 0 {
			t.Errorf("%d rows, running %v, %v", len(rows), running, err)
		}
	}
}

// whenLogged is called with every message of a log, before who wrote it goes on.
type whenLogged func()

func (whenLogged) Enabled(context.Context, slog.Level) bool    { return true }
func (f whenLogged) Handle(context.Context, slog.Record) error { f(); return nil }
func (f whenLogged) WithAttrs([]slog.Attr) slog.Handler        { return f }
func (f whenLogged) WithGroup(string) slog.Handler             { return f }

// TestKillWhileClosing opens what a kill leaves after badger, which is being closed, made
// a table of its log and removed that.
func TestKillWhileClosing(t *testing.T) {
	t.Parallel()
	dir, left := t.TempDir(), t.TempDir()
	var closing, copied bool
	var mu sync.Mutex
	log := slog.New(whenLogged(func() {
		mu.Lock()
		defer mu.Unlock()
		logs, err := filepath.Glob(dir + "/badger/00001.mem")
		if !closing || copied || err != nil || len(logs) > 0 {
			return
		}
		copied = true
		if err := os.CopyFS(left, os.DirFS(dir)); err != nil {
			t.Error(err)
		}
	}))
	b, err := badger.Open(dir, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := put(b, "a", "1"); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	closing = true
	mu.Unlock()
	if err := b.Close(); err != nil || !copied {
		t.Fatal("closed, and was seen without its log:", copied, err)
	}
	if got, err := get(open(t, left), "a"); got != "1" {
		t.Errorf("kept %q, %v", got, err)
	}
}
