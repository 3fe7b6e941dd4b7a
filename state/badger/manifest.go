package badger

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// Badger notes in its manifest which tables are new and whose place they take, and removes
// those others then. When the disk fails to take the note, it removes the new ones and
// goes on with the others: but the note, or a part of it, is in the manifest and stays. The
// next start would not find its tables. Such a note is void, and mend takes it out.
//
// A manifest is eight bytes, then notes: the length of what follows and its checksum, four
// bytes each, big endian; a pb.ManifestChangeSet. See badger's manifest.go, version 4.
const (
	manifestHeader = 8
	noteHeader     = 8
)

// note is an entry of a manifest.
type note struct {
	raw     []byte
	added   []*pb.ManifestChange
	removed []uint64 // tables
}

// listedTables returns the files of the tables that make up the store; badger
// deletes others that are there. When the manifest must be mended before badger reads
// it, mended is what it should be.
func listedTables(dir string) (files []string, mended []byte, err error) {
	content, err := os.ReadFile(filepath.Join(dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	there, err := tablesIn(dir)
	if err != nil {
		return nil, nil, err
	}
	listed, wrong := replay(dir)
	if wrong != nil || slices.ContainsFunc(listed, func(id uint64) bool { return !there[id] }) {
		if live, m := mend(dir, content, there); m != nil {
			listed, wrong, mended = live, nil, m
		}
	}
	for _, id := range listed {
		files = append(files, table.NewFilename(id, dir))
	}
	return files, mended, wrong
}

// replay returns the tables that badger finds in the manifest.
func replay(dir string) (ids []uint64, err error) {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	manifest, _, err := badger.ReplayManifestFile(f, 0, tuned(dir))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", badger.ManifestFilename, err)
	}
	for id := range manifest.Tables {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, nil
}

// tablesIn returns the numbers of the tables in the directory.
func tablesIn(dir string) (map[uint64]bool, error) {
	entries, err := os.ReadDir(dir)
	there := map[uint64]bool{}
	for _, e := range entries {
		number, isTable := strings.CutSuffix(e.Name(), ".sst")
		if id, bad := strconv.ParseUint(number, 10, 64); isTable && bad == nil {
			there[id] = true
		}
	}
	return there, err
}

// mend returns the manifest without void notes, and the tables that are listed then. There
// is none when that does not explain what is wrong: then something is lost.
func mend(dir string, content []byte, there map[uint64]bool) (live []uint64, mended []byte) {
	notes, torn := readNotes(content)
	if notes == nil {
		return nil, nil
	}
	listed := levels(notes)
	var kept []note
	var void int
	var unsure uint64 // the last table of a log that may be lost, rather than void
	for i, n := range notes {
		gone := func(c *pb.ManifestChange) bool { _, is := listed[c.Id]; return is && !there[c.Id] }
		switch {
		case !slices.ContainsFunc(n.added, gone):
			kept = append(kept, n)
			continue
		case slices.ContainsFunc(n.added, func(c *pb.ManifestChange) bool { return !gone(c) }):
			return nil, nil // badger removes all new tables of a note that failed
		}
		void++
		if len(n.removed) == 0 && !overtaken(n, notes[i+1:]) { // else what it added is in others
			unsure = n.added[0].Id
		}
	}
	now := levels(kept)
	mended = slices.Clone(content[:manifestHeader])
	for _, n := range kept {
		mended = append(mended, n.raw...)
	}
	for id := range now {
		if !there[id] {
			return nil, nil
		}
		live = append(live, id)
	}
	if torn && len(live) < len(there) { // of which the part that is damaged may have told
		return nil, nil
	}
	if void == 0 && !torn || unsure > 0 && !continuous(dir, now, unsure) {
		return nil, nil
	}
	slices.Sort(live)
	return live, mended
}

// readNotes returns the notes of a manifest, and whether there are first parts of others
// between them; none when one has its length and is damaged. Badger cuts off what is not
// whole at its end.
func readNotes(content []byte) (notes []note, torn bool) {
	for at := manifestHeader; at < len(content); {
		n, ok := readNote(content[at:])
		if ok {
			notes = append(notes, n)
			at += len(n.raw)
			continue
		}
		next := at + 1
		for next < len(content) {
			if _, ok := readNote(content[next:]); ok {
				torn = true
				break
			}
			next++
		}
		if rest := content[at:next]; len(rest) >= noteHeader && len(rest)-noteHeader == int(binary.BigEndian.Uint32(rest)) {
			return nil, false
		}
		at = next
	}
	return notes, torn
}

// readNote reads the note that b begins with, if there is a whole one.
func readNote(b []byte) (n note, ok bool) {
	if len(b) < noteHeader {
		return n, false
	}
	length := int(binary.BigEndian.Uint32(b))
	if length > len(b)-noteHeader {
		return n, false
	}
	n.raw = b[:noteHeader+length]
	if crc32.Checksum(n.raw[noteHeader:], castagnoli) != binary.BigEndian.Uint32(b[4:]) {
		return n, false
	}
	var set pb.ManifestChangeSet
	if proto.Unmarshal(n.raw[noteHeader:], &set) != nil {
		return n, false
	}
	for _, c := range set.Changes {
		if c.Op == pb.ManifestChange_CREATE {
			n.added = append(n.added, c)
		} else {
			n.removed = append(n.removed, c.Id)
		}
	}
	return n, true
}

// levels returns the tables that notes list, with their levels.
func levels(notes []note) map[uint64]uint32 {
	listed := map[uint64]uint32{}
	for _, n := range notes {
		for _, c := range n.added {
			listed[c.Id] = c.Level
		}
		for _, id := range n.removed {
			delete(listed, id)
		}
	}
	return listed
}

// overtaken reports whether tables that came from logs later than that of the note were
// merged without it. Badger merges the oldest first: so it did not have that one, and
// made another of the same log.
func overtaken(n note, later []note) bool {
	young := map[uint64]bool{}
	for _, l := range later {
		if slices.ContainsFunc(l.removed, func(id uint64) bool { return young[id] }) {
			return true
		}
		for _, c := range l.added {
			young[c.Id] = c.Level == n.added[0].Level
		}
	}
	return false
}

// span is from which to which version, of those that count commits, something holds.
type span struct{ first, last uint64 }

// continuous reports whether no commit is missing between the tables that were merged, those
// that came from logs, and the logs; and whether there is one of the latter that is younger
// than a table, as nothing else tells that no commit is missing at the end.
func continuous(dir string, listed map[uint64]uint32, id uint64) bool {
	var merged uint64
	var spans []span
	younger := false
	for other, level := range listed {
		s, err := tableSpan(table.NewFilename(other, dir))
		switch {
		case err != nil:
			return false
		case level > 0:
			merged = max(merged, s.last)
		default:
			spans, younger = append(spans, s), younger || other > id
		}
	}
	logs, err := usedLogs(dir)
	if err != nil {
		return false
	}
	for _, l := range logs {
		s, err := logSpan(l.path)
		if err != nil {
			return false
		}
		if s.last > 0 {
			spans, younger = append(spans, s), true
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	for _, s := range spans {
		if s.first > merged+1 {
			return false
		}
		merged = max(merged, s.last)
	}
	return younger
}

func (s *span) add(version uint64) {
	if s.last == 0 || version < s.first {
		s.first = version
	}
	s.last = max(s.last, version)
}

func tableSpan(file string) (s span, err error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return s, err
	}
	index, err := tableIndex(content)
	if err != nil {
		return s, err
	}
	for i := range index.OffsetsLength() {
		block, err := tableBlock(content, index, i)
		if err != nil {
			return s, err
		}
		for key := range blockEntries(block) {
			s.add(y.ParseTs(key))
		}
	}
	return s, nil
}

func logSpan(file string) (s span, err error) {
	log, err := readWritten(file)
	for at := logHeader; err == nil && at < len(log); {
		r, ok := readRecord(log[at:])
		if !ok {
			break
		}
		s.add(r.version)
		at += r.length
	}
	return s, err
}
