package nfs

import (
	"archive/tar"
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
	"testing"
	"time"
)

// bigFile is how many bytes the largest file of a hostile image has.
const bigFile = 3 << 20

// hostile is an image of at least n files with whatever archives can hold that is
// hard to serve: half of the files are in one directory.
func hostile(n int) (all []*tar.Header) {
	put := func(kind byte, name, content string, change ...func(*tar.Header)) {
		h := special(kind, name, func(h *tar.Header) {
			h.Size, h.PAXRecords = int64(len(content)), map[string]string{"TEST.content": content}
		})
		for _, f := range change {
			f(h)
		}
		all = append(all, h)
	}
	mode := func(m int64) func(*tar.Header) { return func(h *tar.Header) { h.Mode = m } }
	owner := func(uid, gid int) func(*tar.Header) { return func(h *tar.Header) { h.Uid, h.Gid = uid, gid } }
	device := func(major, minor int64) func(*tar.Header) {
		return func(h *tar.Header) { h.Devmajor, h.Devminor = major, minor }
	}
	to := func(target string) func(*tar.Header) { return func(h *tar.Header) { h.Linkname = target } }

	put(tar.TypeDir, "", "", mode(0o1755), owner(7, 8))
	put(tar.TypeDir, "etc", "", at(1, 999_999_999), mode(0o755))
	for _, m := range []int64{0, 0o4755, 0o2755, 0o1777, 0o7777, 0o4000, 0o111, 0o640} {
		put(tar.TypeReg, fmt.Sprintf("etc/mode-%o", m), "x", mode(m))
		put(tar.TypeDir, fmt.Sprintf("etc/dir-%o", m), "", mode(m))
	}
	for k, id := range []int{1, 65533, 65534, 3_999_999_999, math.MaxUint32 - 1, math.MaxUint32, 1 << 33} {
		put(tar.TypeReg, fmt.Sprintf("etc/owner-%d", k), "x", owner(id, id-1))
	}
	for k, s := range []int64{-1, 0, 1, 1 << 31, math.MaxUint32, math.MaxUint32 + 1, 1 << 40} {
		put(tar.TypeReg, fmt.Sprintf("etc/time-%d", k), "", at(s, 5_000_001*int64(k)))
	}
	put(tar.TypeChar, "dev/null", "", device(1, 3), mode(0o666))
	put(tar.TypeBlock, "dev/high", "", device(4095, 1<<20-1))
	put(tar.TypeFifo, "dev/fifo", "", mode(0o622))
	put(tar.TypeLink, "dev/also-null", "", to("dev/null"))

	for _, size := range []int{1, 511, 512, 4095, 4096, 4097, 65536, readLimit - 1, readLimit, readLimit + 1, bigFile} {
		content := strings.Repeat(fmt.Sprintf("%d.", size), size/2+1)[:size]
		put(tar.TypeReg, fmt.Sprintf("sizes/%d", size), content)
		put(tar.TypeLink, fmt.Sprintf("again/%d", size), "", to(fmt.Sprintf("sizes/%d", size)))
		put(tar.TypeLink, fmt.Sprintf("a-first/%d", size), "", to(fmt.Sprintf("sizes/%d", size)))
	}
	for k, target := range []string{"x", "/", "../../../..", "no where\n", "\xff\xfe", strings.Repeat("l/", 2047) + "l"} {
		put(tar.TypeSymlink, fmt.Sprintf("links/%d", k), "", to(target), mode(0o700), func(h *tar.Header) { h.Size = 0 })
	}
	put(tar.TypeLink, "links/hard", "", to("links/3"))
	for k := 1; k < 256; k++ { // a name of each byte, and long ones of it
		if k != '/' {
			for _, size := range []int{1, 254, 255} {
				put(tar.TypeReg, "names/"+strings.Repeat(string([]byte{byte(k)}), size), "n")
			}
		}
	}
	deep := "deep"
	for k := range 60 {
		deep += "/" + strings.Repeat(string(rune('a'+k%26)), 1+k)
		put(tar.TypeReg, deep+"/é ü 日本\n", deep)
	}
	for k := range n / 2 {
		put(tar.TypeReg, fmt.Sprintf("many/%06d%s", k, strings.Repeat("-", k*7%200)), strings.Repeat("m", max(0, k%64-56)), at(int64(k), int64(k)))
	}
	for k := 0; k < 100 || len(all) < n; k++ {
		dir := fmt.Sprintf("usr/%d/%d", k%10, k/10)
		put(tar.TypeDir, dir, "")
		put(tar.TypeReg, dir+"/file", fmt.Sprint(k%100), owner(k, k))
		put(tar.TypeLink, dir+"/same", "", to(dir+"/file"))
	}
	return slices.DeleteFunc(all, func(h *tar.Header) bool { return path.Base(h.Name) == "." || path.Base(h.Name) == ".." })
}

// inOrder compares paths as a walk finds them.
func inOrder(a, b string) int {
	return cmp.Compare(strings.ReplaceAll(a, "/", "\x00"), strings.ReplaceAll(b, "/", "\x00"))
}

// linesOf are the lines of testdata/guest for an archive, as tar unpacks it.
func linesOf(all []*tar.Header) []string {
	files := map[string]*tar.Header{}
	for _, h := range all {
		files[h.Name] = h
		for dir := path.Dir(h.Name); files[dir] == nil && dir != "."; dir = path.Dir(dir) { // unless a header follows
			files[dir] = &tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: time.Unix(0, 0)}
		}
	}
	delete(files, "")
	subdirs, names, first := map[string]int{}, map[*tar.Header]int{}, map[*tar.Header]string{}
	sorted := slices.SortedFunc(maps.Keys(files), inOrder)
	inode := func(name string) *tar.Header {
		if h := files[name]; h.Typeflag != tar.TypeLink {
			return h
		}
		return files[files[name].Linkname]
	}
	for _, name := range sorted {
		h := inode(name)
		if names[h]++; names[h] == 1 {
			first[h] = name
		}
		if h.Typeflag == tar.TypeDir {
			subdirs[path.Dir(name)]++
		}
	}
	var lines []string
	for _, name := range sorted {
		h := inode(name)
		lines = append(lines, line(name, first[h], h, max(names[h], subdirs[name]+1)))
	}
	return lines
}

// line is that of one file. For a directory there is one link more, that in itself.
func line(name, first string, h *tar.Header, links int) string {
	mode, size, what := h.Mode, h.Size, "-"
	switch h.Typeflag {
	case tar.TypeReg:
		mode |= 0o100000
		what = fmt.Sprintf("%x", sha256.Sum256([]byte(h.PAXRecords["TEST.content"])))
	case tar.TypeDir:
		mode |= 0o040000
		links, size = links+1, 4096
	case tar.TypeSymlink:
		mode, size, what = 0o120777, int64(len(h.Linkname)), fmt.Sprintf("%q", h.Linkname)
	case tar.TypeChar:
		mode |= 0o020000
	case tar.TypeBlock:
		mode |= 0o060000
	case tar.TypeFifo:
		mode |= 0o010000
	}
	id := func(n int) int { // Linux knows no higher ones
		if n >= math.MaxUint32 {
			return 65534
		}
		return n
	}
	t := h.ModTime // NFS knows no other ones
	if t.Unix() < 0 {
		t = time.Unix(0, 0)
	} else if t.Unix() > math.MaxUint32 {
		t = time.Unix(math.MaxUint32, 0)
	}
	return fmt.Sprintf("%q %q %o %d %d:%d %d:%d %d %d.%09d %s", name, first, mode, links, id(h.Uid), id(h.Gid),
		h.Devmajor, h.Devminor, size, t.Unix(), t.Nanosecond(), what)
}

// wantLines compares what was found with what an archive has.
func wantLines(t *testing.T, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	t.Errorf("%d files, want %d", len(got), len(want))
	lacks := func(title string, all, of []string) {
		there, shown := map[string]bool{}, 0
		for _, l := range of {
			there[l] = true
		}
		for _, l := range all {
			if !there[l] && shown < 20 {
				shown++
				t.Logf("%s %.300s", title, l)
			}
		}
	}
	lacks("got ", got, want)
	lacks("want", want, got)
}

// walk lists what is below a directory as testdata/guest does.
func (c *client) walk(dir handle, below string, first map[uint64]string) (lines []string) {
	c.t.Helper()
	for _, e := range c.list(dir, true, 1<<20, 1<<20)[2:] {
		name := path.Join(below, e.name)
		if first[e.number] == "" {
			first[e.number] = name
		}
		a, what, kind := e.attr, "-", map[uint32]uint32{1: 0o100000, 2: 0o040000, 3: 0o060000, 4: 0o020000, 5: 0o120000, 7: 0o010000}
		switch a.kind {
		case typeRegular:
			h := sha256.New()
			for eof, n := false, uint64(0); !eof; {
				var b []byte
				b, eof = c.read(e.handle, n, math.MaxUint32)
				n += uint64(len(b))
				h.Write(b)
			}
			what = fmt.Sprintf("%x", h.Sum(nil))
		case typeSymlink:
			d := c.nfs(5, e.handle)
			wantWords(c.t, d, statOK)
			takeOptional(c.t, d)
			what = fmt.Sprintf("%q", d.opaque(4096))
		}
		lines = append(lines, fmt.Sprintf("%q %q %o %d %d:%d %d:%d %d %d.%09d %s", name, first[e.number], kind[a.kind]|a.mode, a.links,
			a.uid, a.gid, a.major, a.minor, a.size, a.modified, a.nano, what))
		if a.kind == typeDirectory {
			lines = append(lines, c.walk(e.handle, name, first)...)
		}
	}
	return lines
}

func TestHostileTree(t *testing.T) {
	t.Parallel()
	all := hostile(5000)
	c, root := served(t, all...)
	wantLines(t, c.walk(root, "", map[uint64]string{}), linesOf(all))
}
