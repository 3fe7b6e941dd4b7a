package state_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"walt/fault"
	"walt/state"
)

func TestBackup(t *testing.T) {
	t.Parallel()
	b := open(t, t.TempDir())
	for i := range 500 {
		if err := put(b, fmt.Sprintf("n/%03d", i%400), strings.Repeat("x", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Update(t.Context(), func(tx state.Tx) error { return tx.Delete("n/300") }); err != nil {
		t.Fatal(err)
	}
	var copied bytes.Buffer
	if err := b.Backup(t.Context(), &copied); err != nil {
		t.Fatal(err)
	}
	if err := put(b, "n/later", ""); err != nil {
		t.Fatal(err)
	}

	dir := filepath.Join(t.TempDir(), "new")
	if err := state.Restore(dir, bytes.NewReader(copied.Bytes())); err != nil {
		t.Fatal(err)
	}
	restored := open(t, dir)
	got := keys(t, restored, "")
	if len(got) != 399 {
		t.Errorf("restored %d rows, want 399", len(got))
	}
	for i := range 400 {
		want := strings.Repeat("x", i)
		if i < 100 {
			want = strings.Repeat("x", i+400)
		}
		got, err := get(restored, fmt.Sprintf("n/%03d", i))
		if i == 300 {
			if !errors.Is(err, state.ErrNotFound) {
				t.Errorf("a deleted row came back: %v", err)
			}
		} else if err != nil || got != want {
			t.Fatalf("row %d: %d bytes, %v", i, len(got), err)
		}
	}
	if err := put(restored, "n/later", "written after"); err != nil {
		t.Fatal(err)
	}
	if err := state.Restore(dir, bytes.NewReader(copied.Bytes())); fault.As(err) == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("restored over a store: %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	w := writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil })
	if err := b.Backup(ctx, w); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled backup: %v", err)
	}
}

// TestBackupWhileWriting writes pairs of rows while a backup is made: the copy
// holds both of a pair or none.
func TestBackupWhileWriting(t *testing.T) {
	t.Parallel()
	b := memory(t)
	noise := rand.NewChaCha8([32]byte{})
	for i := range 64 {
		value := make([]byte, 10_000)
		noise.Read(value)
		if err := put(b, fmt.Sprintf("filler/%d", i), string(value)); err != nil {
			t.Fatal(err)
		}
	}
	var copied bytes.Buffer
	writes := 0
	err := b.Backup(t.Context(), writerFunc(func(p []byte) (int, error) {
		writes++
		if err := put(b, "a/first", fmt.Sprint(writes), "z/last", fmt.Sprint(writes)); err != nil {
			t.Error(err)
		}
		return copied.Write(p)
	}))
	if err != nil || writes < 10 {
		t.Fatalf("backed up in %d writes, %v", writes, err)
	}
	dir := t.TempDir()
	if err := state.Restore(dir, &copied); err != nil {
		t.Fatal(err)
	}
	restored := open(t, dir)
	first, _ := get(restored, "a/first")
	if last, _ := get(restored, "z/last"); first != last {
		t.Errorf("the copy has %q and %q", first, last)
	}
}

func TestRestoreDamaged(t *testing.T) {
	t.Parallel()
	b := memory(t)
	if err := put(b, "a", strings.Repeat("1", 1000), "b", "2"); err != nil {
		t.Fatal(err)
	}
	var whole bytes.Buffer
	if err := b.Backup(t.Context(), &whole); err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(whole.Bytes())
	flipped[len(flipped)-20] ^= 1
	for name, backup := range map[string][]byte{
		"empty":        nil,
		"another file": []byte("#!/bin/sh\n"),
		"cut":          whole.Bytes()[:whole.Len()-4],
		"cut early":    whole.Bytes()[:40],
		"changed":      flipped,
	} {
		dir := t.TempDir()
		if err := state.Restore(dir, bytes.NewReader(backup)); fault.As(err) == nil {
			t.Errorf("%s: %v", name, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v, %v", name, left, err)
		}
	}

	// A restore that was killed midway.
	dir := t.TempDir()
	if err := state.Restore(dir, bytes.NewReader(whole.Bytes())); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+"/badger", dir+"/badger.new"); err != nil {
		t.Fatal(err)
	}
	refused(t, dir, "MANIFEST is missing")
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
