package badger_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"walt/fault"
	"walt/state"
	"walt/state/badger"
)

// writeInto makes the test binary a server that writes into this directory
// until it is killed.
const writeInto = "WALT_TEST_WRITE_INTO"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writeInto); dir != "" {
		fmt.Fprintln(os.Stderr, writeUntilKilled(dir))
		os.Exit(1)
	}
	if dir := os.Getenv(fillInto); dir != "" {
		fmt.Fprintln(os.Stderr, writeWhatFits(dir))
		os.Exit(1)
	}
	if program := os.Getenv(badger.TraceServer); program != "" {
		fmt.Fprintln(os.Stderr, traceServer(program))
		os.Exit(1)
	}
	if program := os.Getenv(badger.TracedServer); program != "" {
		fmt.Fprintln(os.Stderr, badger.BecomeTraced(program, os.Args[1:]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func traceServer(program string) error {
	out, err := os.Create(os.Getenv(badger.TraceInto))
	if err == nil {
		err = errors.Join(os.Unsetenv(badger.TraceServer), os.Setenv(badger.TracedServer, program))
	}
	if err != nil {
		return err
	}
	return badger.TraceProgram(os.Args[0], os.Args[1:], out)
}

// writeUntilKilled prints the name of each transaction once it is committed.
func writeUntilKilled(dir string) error {
	b, err := badger.Open(dir, nil)
	if err != nil {
		return err
	}
	errs := make(chan error)
	for g := range 4 {
		go func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("%d-%d-%d", os.Getpid(), g, i)
				if err := put(b, "left/"+name, name, "right/"+name, name); err != nil {
					errs <- err
				}
				os.Stdout.WriteString(name + "\n")
			}
		}()
	}
	return <-errs
}

// fillInto makes the test binary a server that writes into this directory until
// it is killed, also when it is refused.
const fillInto = "WALT_TEST_FILL_INTO"

// writeWhatFits prints a line for each write that was committed or refused.
func writeWhatFits(dir string) error {
	b, err := badger.Open(dir, nil)
	if err != nil {
		return err
	}
	errs := make(chan error)
	for g := range 4 {
		go func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("%d-%d", g, i)
				switch err := put(b, fmt.Sprintf("%d-%d", g, i%500), strings.Repeat("v", 1600)); {
				case err == nil:
					os.Stdout.WriteString(name + "\n")
					time.Sleep(time.Millisecond) // some thousand commits a second, all in all
				case fault.As(err) != nil:
					os.Stdout.WriteString("refused\n")
					time.Sleep(time.Millisecond)
				default:
					errs <- err
				}
			}
		}()
	}
	return <-errs
}

// TestKill kills a writing process: what it acknowledged is there, and nothing
// is there by half.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var acknowledged []string
	for round := range 3 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writeInto+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if acknowledged = append(acknowledged, lines.Text()); n == 200+round {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait() // killed

		b := open(t, dir)
		for _, name := range acknowledged {
			if got, err := get(b, "left/"+name); err != nil || got != name {
				t.Fatalf("round %d: acknowledged %s is %q, %v", round, name, got, err)
			}
		}
		left, right := keys(t, b, "left/"), keys(t, b, "right/")
		if len(left) != len(right) || len(left) < len(acknowledged) {
			t.Fatalf("round %d: %d acknowledged, %d and %d halves", round, len(acknowledged), len(left), len(right))
		}
		for i := range left {
			if strings.TrimPrefix(left[i], "left/") != strings.TrimPrefix(right[i], "right/") {
				t.Fatalf("round %d: half a transaction: %s, %s", round, left[i], right[i])
			}
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(acknowledged) < 600 {
		t.Errorf("only %d writes were acknowledged", len(acknowledged))
	}
}

// TestNoLeak is not parallel: it looks at all goroutines. What badger leaves
// running when it cannot open a store ends with the process.
func TestNoLeak(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for _, b := range []*badger.Store{open(t, t.TempDir()), memory(t)} {
		w := b.Watch("")
		if err := errors.Join(put(b, "a", "1"), state.Backup(t.Context(), b, io.Discard), b.Close()); err != nil {
			t.Error(err)
		}
		w.Close()
	}
}

func TestReopen(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	for i := range 3 {
		b := open(t, dir)
		if err := put(b, fmt.Sprint(i), "there"); err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := keys(t, open(t, dir), ""); strings.Join(got, "") != "012" {
		t.Errorf("kept %q", got)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others may look into the directory: %v, %v", info.Mode(), err)
	}
}

func TestSecondServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := open(t, dir)
	if err := put(b, "a", "1"); err != nil {
		t.Fatal(err)
	}
	refused(t, dir, "in use")
	if got, err := get(b, "a"); err != nil || got != "1" {
		t.Errorf("the first server lost its store: %q, %v", got, err)
	}
}

// TestDamage damages a closed store in several ways: each is refused, and a
// second try does not take what is left for a new store.
func TestDamage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		damage func(dir string) error
		says   string
	}{
		"manifest missing": {func(dir string) error { return os.Remove(dir + "/badger/MANIFEST") }, "MANIFEST is missing"},
		"manifest and marker missing": {func(dir string) error {
			return errors.Join(os.Remove(dir+"/badger/MANIFEST"), os.Remove(dir+"/format"))
		}, "MANIFEST is missing"},
		"manifest changed":   {flip("/badger/MANIFEST"), "manifest"},
		"manifest cut":       {func(dir string) error { return os.Truncate(dir+"/badger/MANIFEST", 8) }, "records are missing"},
		"everything missing": {func(dir string) error { return os.RemoveAll(dir + "/badger") }, "MANIFEST is missing"},
		"table changed":      {flip("/badger/*.sst"), "checksum"},
		"table missing":      {remove("/badger/*.sst"), "open"},
		"another format": {func(dir string) error {
			return os.WriteFile(dir+"/format", []byte("walt state 99\n"), 0o600)
		}, "walt state 99"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			b := open(t, dir)
			if err := errors.Join(put(b, "a", strings.Repeat("1", 20_000), "b", "2"), b.Close(), c.damage(dir)); err != nil {
				t.Fatal(err)
			}
			refused(t, dir, c.says)
			refused(t, dir, "")
		})
	}
}

// TestFirstStart checks that a first start that was killed before it was
// complete does not stand in the way of the next.
func TestFirstStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := open(t, dir)
	if err := errors.Join(put(b, "a", "1"), b.Close(), os.Remove(dir+"/format")); err != nil {
		t.Fatal(err)
	}
	b = open(t, dir)
	if got, err := get(b, "a"); got != "1" {
		t.Errorf("kept %q, %v", got, err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir + "/format"); err != nil {
		t.Error(err)
	}
}

// refused checks that the store does not open, with a fault that names the
// directory and says the given words, and that Check knew.
func refused(t *testing.T, dir, says string) {
	t.Helper()
	_, running, err := badger.Check(dir)
	if running != (says == "in use") || !running && fault.As(err) == nil {
		t.Errorf("Check says that it is fine: running %v, %v", running, err)
	}
	b, err := badger.Open(dir, nil)
	if err == nil {
		t.Fatal("the store opened", b.Close())
	}
	f := fault.As(err)
	if f == nil || f.Kind != fault.Failed || f.Hint == "" || !strings.Contains(f.Msg, dir) || !strings.Contains(f.Msg, says) {
		t.Errorf("refused by %#v %v, want a fault that names the directory and says %q", f, err, says)
	}
}

// flip changes a byte in the middle of the files.
func flip(pattern string) func(dir string) error {
	return each(pattern, func(file string) error {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		content[len(content)/2] ^= 0x10
		return os.WriteFile(file, content, 0o600)
	})
}

func remove(pattern string) func(dir string) error { return each(pattern, os.Remove) }

func each(pattern string, f func(file string) error) func(dir string) error {
	return func(dir string) error {
		files, err := filepath.Glob(dir + pattern)
		if err == nil && len(files) == 0 {
			err = fmt.Errorf("no file is called %s", pattern)
		}
		for _, file := range files {
			err = errors.Join(err, f(file))
		}
		return err
	}
}

func put(s state.Store, pairs ...string) error {
	_, err := s.Update(context.Background(), func(tx state.Tx) error {
		for i := 0; i < len(pairs); i += 2 {
			if err := tx.Put(pairs[i], []byte(pairs[i+1])); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

func del(s state.Store, key string) error {
	_, err := s.Update(context.Background(), func(tx state.Tx) error { return tx.Delete(key) })
	return err
}

func get(s state.Store, key string) (value string, err error) {
	err = s.View(context.Background(), func(r state.Reader) error {
		v, err := r.Get(key)
		value = string(v)
		return err
	})
	return value, err
}

func keys(t *testing.T, s state.Store, prefix string) (all []string) {
	t.Helper()
	err := s.View(t.Context(), func(r state.Reader) error {
		for key, err := range r.Keys(prefix, "") {
			if err != nil {
				return err
			}
			all = append(all, key)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
