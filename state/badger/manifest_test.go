package badger_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4/pb"
	"google.golang.org/protobuf/proto"

	"walt/state/badger"
)

const manifestHeader = 8

// manifestNote is one of badger's manifest: a table that is new, and those whose place it takes.
func manifestNote(added uint64, level uint32, removed ...uint64) []byte {
	set := &pb.ManifestChangeSet{Changes: []*pb.ManifestChange{{Id: added, Op: pb.ManifestChange_CREATE, Level: level}}}
	for _, id := range removed {
		set.Changes = append(set.Changes, &pb.ManifestChange{Id: id, Op: pb.ManifestChange_DELETE})
	}
	b, err := proto.Marshal(set)
	if err != nil {
		panic(err)
	}
	head := binary.BigEndian.AppendUint32(nil, uint32(len(b)))
	head = binary.BigEndian.AppendUint32(head, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return append(head, b...)
}

// inManifest changes the notes of a manifest.
func inManifest(change func(notes []byte) []byte) func(dir string) error {
	return each("/badger/MANIFEST", func(file string) error {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return os.WriteFile(file, append(b[:manifestHeader:manifestHeader], change(b[manifestHeader:])...), 0o600)
	})
}

// written is the directory of a store with three rows, of which as many as that are in
// tables that were merged, and the others in a log.
func written(t *testing.T, merged int) string {
	t.Helper()
	live, dir := t.TempDir(), t.TempDir()
	b := open(t, live)
	for i := range 3 {
		if i == merged && i > 0 {
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			b = open(t, live)
		}
		if err := put(b, fmt.Sprintf("row-%d", i), "there"); err != nil {
			t.Fatal(err)
		}
	}
	if merged == 3 {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(dir, os.DirFS(live)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// theTable is the number of the one table of a store.
func theTable(t *testing.T, dir string) (id uint64) {
	t.Helper()
	files, err := filepath.Glob(dir + "/badger/*.sst")
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if _, err := fmt.Sscanf(filepath.Base(files[0]), "%d.sst", &id); err != nil {
		t.Fatal(err)
	}
	return id
}

// TestVoidNotes opens stores whose disk did not take a note of the manifest: badger removed
// the tables that it names and went on.
func TestVoidNotes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		merged int
		change func(id uint64, notes []byte) []byte
	}{
		"tables merged": {3, func(id uint64, notes []byte) []byte { return append(notes, manifestNote(99, 6, id)...) }},
		"and once more": {3, func(id uint64, notes []byte) []byte {
			return append(append(notes, manifestNote(98, 6, id)...), manifestNote(99, 6, id)...)
		}},
		"a log, the first one":  {0, func(_ uint64, notes []byte) []byte { return append(notes, manifestNote(99, 0)...) }},
		"a log, after a merge":  {2, func(_ uint64, notes []byte) []byte { return append(notes, manifestNote(99, 0)...) }},
		"a log, then in others": {3, func(_ uint64, notes []byte) []byte { return append(manifestNote(99, 0), notes...) }},
		"half of it": {3, func(_ uint64, notes []byte) []byte {
			return append(append(manifestNote(98, 0)[:11], manifestNote(99, 0)[:9]...), notes...)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := written(t, c.merged)
			var id uint64
			if c.merged > 0 {
				id = theTable(t, dir)
			}
			if err := inManifest(func(notes []byte) []byte { return c.change(id, notes) })(dir); err != nil {
				t.Fatal(err)
			}
			before := files(t, dir)
			if _, _, err := badger.Check(dir); err != nil || !maps.Equal(before, files(t, dir)) {
				t.Errorf("Check: %v", err)
			}
			if rows, lost, err := badger.Salvage(dir); err != nil || len(lost) > 0 || len(rows) != 3 {
				t.Errorf("salvaged %d rows, lost %v, %v", len(rows), lost, err)
			}
			for range 2 {
				b := open(t, dir)
				if got := keys(t, b, "row-"); len(got) != 3 {
					t.Errorf("kept %v", got)
				}
				if err := b.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestLostTables opens stores that lost a table, which no note explains.
func TestLostTables(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(t *testing.T) (dir string){
		"merged": func(t *testing.T) string {
			dir := written(t, 3)
			return must(t, dir, remove("/badger/*.sst")(dir))
		},
		"merged, before a log": func(t *testing.T) string {
			dir := written(t, 2)
			return must(t, dir, remove("/badger/*.sst")(dir))
		},
		"of the last log": func(t *testing.T) string {
			dir := written(t, 3)
			id := theTable(t, dir)
			return must(t, dir, errors.Join(inManifest(func([]byte) []byte { return manifestNote(id, 0) })(dir), remove("/badger/*.sst")(dir)))
		},
		"of a log, before the last": func(t *testing.T) string { // row-1 was in it
			dir, later := written(t, 1), written(t, 2)
			err := errors.Join(remove("/badger/*.mem")(dir), each("/badger/*.mem", func(file string) error {
				b, err := os.ReadFile(file)
				return errors.Join(err, os.WriteFile(strings.Replace(file, later, dir, 1), b, 0o600))
			})(later))
			return must(t, dir, errors.Join(err, inManifest(func(notes []byte) []byte { return append(notes, manifestNote(99, 0)...) })(dir)))
		},
		"and its note": func(t *testing.T) string {
			dir := written(t, 3)
			return must(t, dir, inManifest(func(notes []byte) []byte {
				notes[len(notes)-1] ^= 1
				return append(notes, manifestNote(99, 0)...)
			})(dir))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := lose(t)
			refused(t, dir, "damaged")
			refused(t, dir, "damaged")
		})
	}
}

func must(t *testing.T, dir string, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
