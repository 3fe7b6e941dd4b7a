package badger_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"walt/fault"
	"walt/state"
	"walt/state/badger"
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
	if err := state.Backup(t.Context(), b, &copied); err != nil {
		t.Fatal(err)
	}
	if err := put(b, "n/later", ""); err != nil {
		t.Fatal(err)
	}

	dir := filepath.Join(t.TempDir(), "new")
	if err := badger.Restore(dir, bytes.NewReader(copied.Bytes())); err != nil {
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
	if err := badger.Restore(dir, bytes.NewReader(copied.Bytes())); fault.As(err) == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("restored over a store: %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	w := writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil })
	if err := state.Backup(ctx, b, w); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled backup: %v", err)
	}
}

// TestMove moves a store from memory to disk and back: a backup is of no kind of
// store. Guards stay behind.
func TestMove(t *testing.T) {
	t.Parallel()
	table := state.NewTable[string]("word").Guarded(1)
	first, last := memory(t), memory(t)
	for i := range 30 { // more than one transaction takes
		_, err := first.Update(t.Context(), func(tx state.Tx) error {
			return table.Put(tx, fmt.Sprintf("a/%d", i), strings.Repeat("x", i*4_000))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := put(first, "\x00odd\xff", "", "plain", "1"); err != nil {
		t.Fatal(err)
	}
	var one, two bytes.Buffer
	if err := state.Backup(t.Context(), first, &one); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := badger.Restore(dir, bytes.NewReader(one.Bytes())); err != nil {
		t.Fatal(err)
	}
	if err := state.Backup(t.Context(), open(t, dir), &two); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Error("the backup of what was restored is another")
	}
	if err := state.Restore(t.Context(), last, &two); err != nil {
		t.Fatal(err)
	}
	want := slices.DeleteFunc(keys(t, first, ""), func(key string) bool { return strings.HasPrefix(key, "\x00guard/") })
	if got := keys(t, last, ""); !slices.Equal(got, want) || len(got) != 32 {
		t.Errorf("restored the keys %q, want %q", got, want)
	}
	for _, key := range want {
		had, _ := get(first, key)
		if has, err := get(last, key); has != had || err != nil {
			t.Errorf("%q has %d bytes, want %d (%v)", key, len(has), len(had), err)
		}
	}
	if err := state.Restore(t.Context(), last, &one); fault.As(err) == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("restored over rows: %v", err)
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
	err := state.Backup(t.Context(), b, writerFunc(func(p []byte) (int, error) {
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
	if err := badger.Restore(dir, &copied); err != nil {
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
	if err := state.Backup(t.Context(), b, &whole); err != nil {
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
		if err := badger.Restore(dir, bytes.NewReader(backup)); fault.As(err) == nil {
			t.Errorf("%s: %v", name, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v, %v", name, left, err)
		}
	}

	// A restore that was killed midway.
	dir := t.TempDir()
	if err := badger.Restore(dir, bytes.NewReader(whole.Bytes())); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+"/badger", dir+"/badger.new"); err != nil {
		t.Fatal(err)
	}
	refused(t, dir, "MANIFEST is missing")
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
