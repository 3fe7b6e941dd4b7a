package nfs

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io/fs"
	"math"
	"strings"
	"testing"
	"time"

	"walt/images/imagetest"
)

var (
	regular   = imagetest.Regular
	directory = imagetest.Directory
	symlink   = imagetest.Symlink
	hardlink  = imagetest.Hardlink
)

// special is a file of another type, or with other metadata.
func special(kind byte, name string, change func(*tar.Header)) *tar.Header {
	h := &tar.Header{Typeflag: kind, Name: name, Mode: 0o640, ModTime: imagetest.Created, Format: tar.FormatPAX}
	if change != nil {
		change(h)
	}
	return h
}

func at(seconds int64, nano int64) func(*tar.Header) {
	return func(h *tar.Header) { h.ModTime = time.Unix(seconds, nano) }
}

func TestAttributes(t *testing.T) {
	t.Parallel()
	c, root := served(t,
		regular("f", "hello"), hardlink("sub/deep/g", "f"), directory("sub/other"), symlink("l", "a/target"),
		special(tar.TypeReg, "suid", func(h *tar.Header) { h.Mode, h.Uid, h.Gid = 0o7751, 3_999_999_999, math.MaxUint32-1 }),
		special(tar.TypeReg, "nobody", func(h *tar.Header) { h.Uid, h.Gid = math.MaxUint32, 1<<40 }),
		special(tar.TypeReg, "old", at(-5, 0)), special(tar.TypeReg, "new", at(1<<33, 7)), special(tar.TypeReg, "late", at(math.MaxUint32, 123456789)),
		special(tar.TypeBlock, "sda", func(h *tar.Header) { h.Devmajor, h.Devminor = 8, 1<<20-1 }),
		special(tar.TypeChar, "null", func(h *tar.Header) { h.Devmajor, h.Devminor = 1, 3 }), special(tar.TypeFifo, "fifo", nil))
	created := uint32(imagetest.Created.Unix())
	for name, want := range map[string]attributes{
		"f":      {kind: 1, mode: 0o644, links: 2, size: 5, used: 512, modified: created},
		"sub":    {kind: 2, mode: 0o755, links: 4, size: 4096, used: 4096, modified: created},
		"l":      {kind: 5, mode: 0o777, links: 1, size: 8, modified: created},
		"suid":   {kind: 1, mode: 0o7751, links: 1, uid: 3_999_999_999, gid: math.MaxUint32 - 1, modified: created},
		"nobody": {kind: 1, mode: 0o640, links: 1, uid: 65534, gid: 65534, modified: created},
		"old":    {kind: 1, mode: 0o640, links: 1},
		"new":    {kind: 1, mode: 0o640, links: 1, modified: math.MaxUint32},
		"late":   {kind: 1, mode: 0o640, links: 1, modified: math.MaxUint32, nano: 123456789},
		"sda":    {kind: 3, mode: 0o640, links: 1, major: 8, minor: 1<<20 - 1, modified: created},
		"null":   {kind: 4, mode: 0o640, links: 1, major: 1, minor: 3, modified: created},
		"fifo":   {kind: 7, mode: 0o640, links: 1, modified: created},
	} {
		h, got := c.lookup(root, name)
		if again := c.getattr(h); again != got {
			t.Errorf("%s: LOOKUP says %+v, GETATTR %+v", name, got, again)
		}
		if got.number == 0 || got.fsid == 0 || got.read != got.modified || got.changed != got.modified {
			t.Errorf("%s: %+v", name, got)
		}
		want.read, want.changed, want.number, want.fsid = want.modified, want.modified, got.number, got.fsid
		if name == "sub" { // the archive does not have it: it has no time
			want.modified, want.read, want.changed = got.modified, got.read, got.changed
		}
		if got != want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, want)
		}
	}
	f, _ := c.lookup(root, "f")
	sub, _ := c.lookup(root, "sub")
	deep, _ := c.lookup(sub, "deep")
	if g, _ := c.lookup(deep, "g"); g != f {
		t.Error("hard links have different handles")
	}
	if up, _ := c.lookup(deep, ".."); up != sub {
		t.Error("the parent is another one")
	}
	if up, _ := c.lookup(root, ".."); up != root {
		t.Error("the root is not in itself")
	}
	if same, _ := c.lookup(sub, "."); same != sub {
		t.Error(". is another one")
	}
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	odd := "\xff\n\t" + strings.Repeat("n", 252)
	c, root := served(t, regular("f", "hello"), regular(odd, "odd"), symlink("l", "f"), special(tar.TypeFifo, "fifo", nil))
	f, _ := c.lookup(root, "f")
	l, _ := c.lookup(root, "l")
	fifo, _ := c.lookup(root, "fifo")
	if h, _ := c.lookup(root, odd); h == f {
		t.Error("a name of any bytes is not told from others")
	}
	stale := root[:len(root)-1] + "\xff"
	for k, call := range []struct {
		procedure uint32
		args      []any
		want      uint32
		has       string // what the answer has: attributes, or that there are none
	}{
		{3, []any{root, "none"}, statNoEntry, "a"},
		{3, []any{root, ""}, statNoEntry, "a"},
		{3, []any{root, "a/b"}, statNoEntry, "a"},
		{3, []any{root, strings.Repeat("n", 256)}, statNameTooLong, "a"},
		{3, []any{f, "x"}, statNotDirectory, "a"},
		{3, []any{f, ".."}, statNotDirectory, "a"},
		{3, []any{stale, "x"}, statStale, "-"},
		{1, []any{stale}, statStale, ""},
		{1, []any{handle("")}, statBadHandle, ""},
		{1, []any{root + "1234"}, statBadHandle, ""},
		{1, []any{handle(strings.Repeat("x", 64))}, statBadHandle, ""},
		{1, []any{handle(strings.Repeat("x", handleSize))}, statStale, ""},
		{4, []any{stale, 63}, statStale, "-"},
		{5, []any{f}, statInvalid, "a"},
		{5, []any{root}, statInvalid, "a"},
		{5, []any{stale}, statStale, "-"},
		{6, []any{root, uint64(0), 10}, statIsDirectory, "a"},
		{6, []any{l, uint64(0), 10}, statInvalid, "a"},
		{6, []any{fifo, uint64(0), 10}, statInvalid, "a"},
		{6, []any{stale, uint64(0), 10}, statStale, "-"},
		{16, []any{f, uint64(0), uint64(0), 4096}, statNotDirectory, "a"},
		{16, []any{root, uint64(1), uint64(0), 4096}, statBadCookie, "a"},
		{16, []any{root, uint64(0), uint64(0), 127}, statTooSmall, "a"},
		{16, []any{stale, uint64(0), uint64(0), 4096}, statStale, "-"},
		{17, []any{f, uint64(0), uint64(0), 4096, 4096}, statNotDirectory, "a"},
		{17, []any{root, uint64(0), uint64(0), 20, 4096}, statTooSmall, "a"},
		{17, []any{root, uint64(0), uint64(0), 4096, 200}, statTooSmall, "a"},
		{17, []any{stale, uint64(0), uint64(0), 4096, 4096}, statStale, "-"},
		{18, []any{stale}, statStale, "-"},
		{19, []any{stale}, statStale, "-"},
		{20, []any{stale}, statStale, "-"},
		{2, []any{f}, statReadOnly, "--"},
		{7, []any{f, uint64(0), 4, 0, "abcd"}, statReadOnly, "--"},
		{8, []any{root, "x"}, statReadOnly, "--"},
		{9, []any{root, "x"}, statReadOnly, "--"},
		{10, []any{root, "x"}, statReadOnly, "--"},
		{11, []any{root, "x"}, statReadOnly, "--"},
		{12, []any{root, "f"}, statReadOnly, "--"},
		{13, []any{root, "f"}, statReadOnly, "--"},
		{14, []any{root, "f", root, "g"}, statReadOnly, "----"},
		{15, []any{f, root, "g"}, statReadOnly, "---"},
		{21, []any{f, uint64(0), 0}, statReadOnly, "--"},
	} {
		d := c.nfs(call.procedure, call.args...)
		if got := d.uint32(); got != call.want {
			t.Errorf("call %d: %d, want %d", k, got, call.want)
		}
		for _, has := range call.has {
			if has == 'a' {
				takeOptional(t, d)
			} else {
				wantWords(t, d, absent)
			}
		}
		wantEnd(t, d)
	}
}

func TestReading(t *testing.T) {
	t.Parallel()
	content := make([]byte, 3*readLimit+17)
	for i := range content {
		content[i] = byte(i * 31 >> 8)
	}
	target := strings.Repeat("x/", 2000) + "end"
	c, root := served(t, regular("big", string(content)), regular("empty", ""), symlink("l", target))
	big, _ := c.lookup(root, "big")
	empty, _ := c.lookup(root, "empty")
	l, _ := c.lookup(root, "l")
	for _, r := range []struct {
		file   handle
		offset uint64
		count  int
		want   []byte
		eof    bool
	}{
		{big, 0, 5, content[:5], false},
		{big, 1, 1 << 30, content[1 : 1+readLimit], false},
		{big, 3 * readLimit, 17, content[3*readLimit:], true},
		{big, 3 * readLimit, 16, content[3*readLimit : 3*readLimit+16], false},
		{big, 3*readLimit + 10, 4096, content[3*readLimit+10:], true},
		{big, 3*readLimit + 17, 1, nil, true},
		{big, math.MaxUint64, math.MaxUint32, nil, true},
		{big, 0, 0, nil, false},
		{empty, 0, 10, nil, true},
	} {
		if b, eof := c.read(r.file, r.offset, r.count); !bytes.Equal(b, r.want) || eof != r.eof {
			t.Errorf("%d bytes from %d: %d bytes, end %t; want %d, %t", r.count, r.offset, len(b), eof, len(r.want), r.eof)
		}
	}
	d := c.nfs(5, l)
	wantWords(t, d, statOK)
	takeOptional(t, d)
	if got := string(d.opaque(4096)); got != target {
		t.Errorf("the link leads to %q", got)
	}
	wantEnd(t, d)
}

func TestListing(t *testing.T) {
	t.Parallel()
	var entries []*tar.Header
	const n = 5000
	for k := range n {
		name := fmt.Sprintf("d/%05d", k)
		entries = append(entries, regular(name+strings.Repeat("x", (k*7)%250), ""))
	}
	c, root := served(t, append(entries, directory("void"))...)
	d, _ := c.lookup(root, "d")
	for _, sizes := range [][]any{{1000}, {4096}, {1 << 20}, {math.MaxUint32}, {300, 4096}, {4096, 1000}, {1 << 20, 1 << 20}} {
		plus := len(sizes) == 2
		all := c.list(d, plus, sizes...)
		if len(all) != n+2 || all[0].name != "." || all[1].name != ".." {
			t.Fatalf("%v: %d entries, want %d", sizes, len(all), n+2)
		}
		for k, e := range all {
			if e.cookie != uint64(k+1) || k >= 2 && e.name != entries[k-2].Name[2:] {
				t.Fatalf("%v: entry %d is %+v", sizes, k, e)
			}
			if plus && k%50 == 0 && (e.attr != c.getattr(e.handle) || e.attr.number != e.number) {
				t.Fatalf("%v: entry %d is %+v, but %+v", sizes, k, e, c.getattr(e.handle))
			}
		}
	}
	if page, _, eof := c.page(root, false, 0, 0, 4096); len(page) != 4 || !eof || page[1].number != 1 {
		t.Errorf("got %+v, end %t", page, eof)
	}
	_, verifier, _ := c.page(d, false, 0, 0, 4096)
	for _, cookie := range []uint64{n + 2, n + 3, 1 << 32} {
		if page, _, eof := c.page(d, false, cookie, verifier, 4096); len(page) != 0 || !eof {
			t.Errorf("behind the end, at %d, are %v", cookie, page)
		}
	}
	if page, _, _ := c.page(d, true, 0, 0, 300, 1<<20); len(page) != 7 {
		t.Errorf("%d entries in 300 bytes of names", len(page)) // 24 + 24 + 28 + 32 + 40 + 48 + 56, then 60
	}
}

func TestAccess(t *testing.T) {
	t.Parallel()
	mine := func(mode int64) func(*tar.Header) {
		return func(h *tar.Header) { h.Mode, h.Uid, h.Gid = mode, 10, 20 }
	}
	c, root := served(t, special(tar.TypeReg, "640", mine(0o640)), special(tar.TypeReg, "711", mine(0o711)), special(tar.TypeReg, "007", mine(0o007)),
		special(tar.TypeDir, "750", mine(0o750)), special(tar.TypeChar, "null", mine(0o620)), special(tar.TypeFifo, "fifo", mine(0o666)))
	const r, l, w, x = accessRead, accessLookup, accessModify | accessExtend, accessExecute
	for _, u := range []struct {
		who  []byte
		want map[string]uint32
	}{
		{asRoot, map[string]uint32{"640": r, "711": r | x, "007": r | x, "750": r | l, "null": r | w, "fifo": r | w}},
		{asUser(10, 99), map[string]uint32{"640": r, "711": r | x, "007": 0, "750": r | l, "null": r | w, "fifo": r | w}},
		{asUser(11, 20), map[string]uint32{"640": r, "711": x, "007": 0, "750": r | l, "null": w, "fifo": r | w}},
		{asUser(11, 1, 2, 20), map[string]uint32{"640": r, "711": x, "007": 0, "750": r | l, "null": w, "fifo": r | w}},
		{asUser(11, 1, 2), map[string]uint32{"640": 0, "711": x, "007": r | x, "750": 0, "null": 0, "fifo": r | w}},
		{asNobody, map[string]uint32{"640": 0, "711": x, "007": r | x, "750": 0, "null": 0, "fifo": r | w}},
	} {
		c.cred = u.who
		for name, want := range u.want {
			h, _ := c.lookup(root, name)
			d := c.nfs(4, h, 0xffffffff)
			wantWords(t, d, statOK)
			takeOptional(t, d)
			if got := d.uint32(); got != want {
				t.Errorf("%q may do %#x with %s, want %#x", u.who, got, name, want)
			}
			wantEnd(t, d)
			d = c.nfs(4, h, r)
			wantWords(t, d, statOK)
			takeOptional(t, d)
			wantWords(t, d, want&r)
		}
	}
}

func TestAccessControlLists(t *testing.T) {
	t.Parallel()
	c, root := served(t, regular("f", ""))
	f, _ := c.lookup(root, "f")
	for _, h := range []handle{root, f} {
		d := c.do(programACL, 1, h, 15)
		wantWords(t, d, statOK)
		takeOptional(t, d)
		wantWords(t, d, 15, 0, 0, 0, 0)
		wantEnd(t, d)
	}
	d := c.do(programACL, 1, root+"x", 15)
	wantWords(t, d, statBadHandle, absent)
	wantEnd(t, d)
	d = c.do(programACL, 2, f, 0, 0, 0, 0, 0)
	wantWords(t, d, statReadOnly, absent)
	wantEnd(t, d)
	wantEnd(t, c.do(programACL, 0))
}

func TestFileSystem(t *testing.T) {
	t.Parallel()
	c, root := served(t, regular("f", "hello"))
	d := c.nfs(18, root)
	wantWords(t, d, statOK)
	if a := takeOptional(t, d); a.kind != typeOf(fs.ModeDir) {
		t.Errorf("the root is of type %d", a.kind)
	}
	for _, want := range []uint64{5, 0, 0, 2, 0, 0} {
		if got := d.uint64(); got != want {
			t.Errorf("FSSTAT: %d, want %d", got, want)
		}
	}
	d.uint32()
	wantEnd(t, d)
	d = c.nfs(19, root)
	wantWords(t, d, statOK)
	takeOptional(t, d)
	wantWords(t, d, readLimit, readLimit, 4096, writeLimit, writeLimit, 4096, listLimit, 1<<31-1, 1<<32-1, 0, 1, 0x0b)
	wantEnd(t, d)
	d = c.nfs(20, root)
	wantWords(t, d, statOK)
	takeOptional(t, d)
	wantWords(t, d, 1<<32-1, 255, 1, 1, 0, 1)
	wantEnd(t, d)
	wantEnd(t, c.nfs(0))
	wantEnd(t, c.do(programMount, 0))
}
