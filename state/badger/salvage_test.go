package badger_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"walt/state/badger"
)

// TestSalvage reads what is left of damaged stores: first seven rows in a table
// and three in a log, of which one was deleted and one changed.
func TestSalvage(t *testing.T) {
	t.Parallel()
	store := func(t *testing.T) string {
		live, dir := t.TempDir(), t.TempDir()
		b := open(t, live)
		for _, row := range []string{"row-0", "row-1", "row-2", "row-3", "row-4", "row-5", "row-6"} {
			if err := put(b, row, strings.Repeat(row, 1000)); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		b = open(t, live)
		err := errors.Join(put(b, "row-7", "seven"), put(b, "row-8", "eight", "row-0", "changed"), del(b, "row-1"), put(b, "row-9", "nine"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(dir, os.DirFS(live)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	for name, c := range map[string]struct {
		damage     func(dir string) error
		kept, lost string
	}{
		"none":          {func(string) error { return nil }, "023456789", ""},
		"a block":       {each("/badger/*.sst", flipAt(17000)), "02456789", "block 5 of"},
		"table cut":     {each("/badger/*.sst", func(f string) error { return os.Truncate(f, 5000) }), "0789", "cut short"},
		"table missing": {each("/badger/*.sst", os.Remove), "0789", "missing"},
		"in the log":    {inLog("row-8", func(b []byte) { b[14] ^= 1 }), "02345679", "the rest of their transaction"},
		"log missing":   {each("/badger/*.mem", os.Remove), "0123456", "log of the last commits, is missing"},
		"log cut":       {cutAt("row-9"), "02345678", "00001.mem: what stood after byte"},
		"table no file": {each("/badger/*.sst", func(f string) error { return errors.Join(os.Remove(f), os.Mkdir(f, 0o700)) }), "0789", "is a directory"},

		"manifest":        {func(dir string) error { return flip("/badger/MANIFEST")(dir) }, "023456789", "MANIFEST"},
		"all":             {func(dir string) error { return os.RemoveAll(dir + "/badger") }, "", "is missing"},
		"torn at its end": {inLog("row-9", func(b []byte) { clear(b[:50]) }), "02345678", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := store(t)
			if err := c.damage(dir); err != nil {
				t.Fatal(err)
			}
			rows, lost, err := badger.Salvage(dir)
			if err != nil {
				t.Fatal(err)
			}
			kept := ""
			for _, r := range rows {
				kept += strings.TrimPrefix(r.Key, "row-")
				if want := "changed"; r.Key == "row-0" && name != "in the log" && name != "log missing" && string(r.Value) != want {
					t.Errorf("row-0 is an old version: %.20q", r.Value)
				}
			}
			if kept != c.kept {
				t.Errorf("kept rows %s, want %s (lost: %q)", kept, c.kept, lost)
			}
			if all := strings.Join(lost, "\n"); !strings.Contains(all, c.lost) || c.lost == "" && all != "" {
				t.Errorf("said to be lost: %q, want %q", all, c.lost)
			}
		})
	}
	if _, _, err := badger.Salvage(t.TempDir() + "/none"); err == nil {
		t.Error("what does not exist was read")
	}
}
