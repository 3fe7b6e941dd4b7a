package files

import (
	"encoding/binary"
	"slices"
	"strings"

	"walt/fault"
	"walt/reach/files/wire"
)

// pathForms says, of each request that begins with paths, how many.
var pathForms = map[uint8]int{
	wire.Open: 1, wire.Lstat: 1, wire.Setstat: 1, wire.Opendir: 1, wire.Remove: 1, wire.Mkdir: 1, wire.Rmdir: 1,
	wire.Realpath: 1, wire.Stat: 1, wire.Rename: 2, wire.Readlink: 1,
}

// extendedPaths and extendedHandles are the same of extensions, of paths and of handles.
var (
	extendedPaths = map[string]int{
		"posix-rename@openssh.com": 2, "statvfs@openssh.com": 1, "hardlink@openssh.com": 2, "lsetstat@openssh.com": 1,
	}
	extendedHandles = map[string]int{"fstatvfs@openssh.com": 1, "fsync@openssh.com": 1, "copy-data": 2}
)

// changes are the requests that change something, but for OPEN, whose flags say it.
var changes = []uint8{wire.Setstat, wire.Remove, wire.Mkdir, wire.Rmdir, wire.Rename, wire.Symlink}

var changingExtensions = []string{"posix-rename@openssh.com", "hardlink@openssh.com", "lsetstat@openssh.com"}

// request does what a client asks for; p is at the fields behind the id. An error ends the
// session.
func (s *session) request(kind uint8, id uint32, p *parser) error {
	switch kind {
	case wire.Close, wire.Read, wire.Write, wire.Fstat, wire.Fsetstat, wire.Readdir:
		return s.aboutHandle(kind, id, p)
	case wire.Symlink: // OpenSSH has the target first, as it is, see its PROTOCOL, section 4.1
		target := p.text()
		return s.aboutPaths(kind, id, 1, target, p)
	case wire.Extended:
		name := string(p.text())
		if n, has := extendedPaths[name]; has {
			return s.aboutExtendedPaths(name, id, n, p)
		}
		if n, has := extendedHandles[name]; has {
			return s.aboutExtendedHandles(name, id, n, p)
		}
		if name == "limits@openssh.com" {
			b := begin(nil, wire.Reply, id)
			for _, n := range []uint64{wire.Longest, wire.MostData, wire.MostData, mostHandles} {
				b = binary.BigEndian.AppendUint64(b, n)
			}
			return s.send(end(b))
		}
	default:
		if n, has := pathForms[kind]; has {
			return s.aboutPaths(kind, id, n, nil, p)
		}
	}
	return s.reply(id, wire.CodeUnsupported, "not supported")
}

// places takes paths from a request, all of which lead into the same folder.
func places(n int, p *parser) ([]place, error) {
	all := make([]place, n)
	for i := range all {
		at, err := parsePath(p.text())
		if err != nil {
			return nil, err
		}
		all[i] = at
	}
	if p.bad {
		return nil, errMalformed
	}
	if n == 2 && all[0].folder != all[1].folder {
		return nil, fault.Failedf("%s and %s are in different folders", all[0].show(), all[1].show()).WithHint("copy it, and remove it there")
	}
	return all, nil
}

// aboutPaths passes on a request that begins with paths. A first is what stands before them.
func (s *session) aboutPaths(kind uint8, id uint32, n int, first []byte, p *parser) error {
	all, err := places(n, p)
	if err != nil {
		return s.refuse(id, err)
	}
	at, changing := all[0], slices.Contains(changes, kind)
	r := asked{kind: kind, id: id}
	switch kind {
	case wire.Open:
		const read = 1
		flags := parser{b: p.b}
		changing = flags.uint32()&^read != 0
		r.opens = true
	case wire.Opendir:
		r.opens = true
	case wire.Realpath:
		r.under = at.folder
		if at.top {
			return s.send(onePath(id, at.show()))
		}
	case wire.Stat, wire.Lstat:
		if at.top { // its own server would have to be connected for that
			if err := s.folders.Look(s.ctx, at.folder); err != nil {
				return s.refuse(id, err)
			}
			return s.send(end(folderAttrs(begin(nil, wire.Attrs, id))))
		}
	}
	if at.folder == "" || at.top && changing && s.folders.Look(s.ctx, at.folder) != nil {
		return s.aboutRoot(kind, id)
	}
	return s.pass(at.folder, r, changing, func(b []byte) []byte {
		if kind == wire.Symlink {
			b = wire.AppendText(b, first)
		}
		for _, at := range all {
			b = wire.AppendText(b, at.path)
		}
		return append(b, p.b...)
	})
}

func (s *session) aboutExtendedPaths(name string, id uint32, n int, p *parser) error {
	all, err := places(n, p)
	if err != nil {
		return s.refuse(id, err)
	}
	at := all[0]
	switch {
	case at.folder == "" && name == "statvfs@openssh.com":
		return s.send(noSpace(id))
	case at.folder == "":
		return s.aboutRoot(wire.Extended, id)
	}
	return s.pass(at.folder, asked{kind: wire.Extended, extension: name, id: id}, slices.Contains(changingExtensions, name), func(b []byte) []byte {
		for _, at := range all {
			b = wire.AppendText(b, at.path)
		}
		return append(b, p.b...)
	})
}

// pass passes a request on to a folder, which is connected for it if need be.
func (s *session) pass(name string, r asked, changing bool, fields func([]byte) []byte) error {
	f, err := s.connect(name)
	if err != nil {
		return s.refuse(r.id, err)
	}
	if changing && f.readOnly != nil {
		return s.refuse(r.id, f.readOnly)
	}
	if r.opens && !s.room() {
		return s.refuse(r.id, errHandles)
	}
	return f.ask(r, fields)
}

var errHandles = fault.Failedf("too many files are open: %d", mostHandles).WithHint("close some, or copy less at once")

// room reports whether one more file may be opened.
func (s *session) room() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.handles) < mostHandles
}

// held returns what a handle of the client is, nil when it is none.
func (s *session) held(theirs []byte) (*handle, uint32) {
	if len(theirs) != 4 {
		return nil, 0
	}
	number := binary.BigEndian.Uint32(theirs)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.handles[number], number
}

// aboutHandle passes on a request about a file that is open.
func (s *session) aboutHandle(kind uint8, id uint32, p *parser) error {
	h, number := s.held(p.text())
	if h == nil {
		return s.reply(id, wire.CodeFailure, "there is no such handle")
	}
	r := asked{kind: kind, id: id, about: h}
	if kind == wire.Close {
		s.mu.Lock()
		delete(s.handles, number)
		s.mu.Unlock()
	}
	if h.folder == nil {
		return s.aboutRootHandle(kind, id, h.root)
	}
	rest := p.b
	if kind == wire.Read {
		offset := p.uint64()
		r.bytes = int(min(p.uint32(), wire.MostData)) // fewer than were asked for may come
		if p.bad {
			return s.reply(id, wire.CodeBadMessage, errMalformed.Error())
		}
		rest = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(make([]byte, 0, 12), offset), uint32(r.bytes))
	}
	return h.folder.ask(r, func(b []byte) []byte { return append(wire.AppendText(b, h.theirs), rest...) })
}

// aboutExtendedHandles passes on a request of an extension about one file that is open, or
// two, as of copy-data.
func (s *session) aboutExtendedHandles(name string, id uint32, n int, p *parser) error {
	first, _ := s.held(p.text())
	fields := [][]byte{nil, p.b}
	second := first
	if n == 2 { // behind an offset and a length
		fields[0] = p.take(16)
		second, _ = s.held(p.text())
		fields[1] = p.b
	}
	switch {
	case p.bad, first == nil, second == nil, first.folder == nil, second.folder == nil:
		return s.reply(id, wire.CodeFailure, "there is no such handle")
	case first.folder != second.folder:
		return s.reply(id, wire.CodeUnsupported, "the files are in different folders")
	}
	return first.folder.ask(asked{kind: wire.Extended, extension: name, id: id, about: first}, func(b []byte) []byte {
		b = append(wire.AppendText(b, first.theirs), fields[0]...)
		if n == 2 {
			b = wire.AppendText(b, second.theirs)
		}
		return append(b, fields[1]...)
	})
}

// onePath is an answer that names a path.
func onePath(id uint32, name string) []byte {
	b := binary.BigEndian.AppendUint32(begin(nil, wire.Name, id), 1)
	b = wire.AppendText(wire.AppendText(b, name), name)
	return end(binary.BigEndian.AppendUint32(b, 0))
}

// printable is a text of a node made fit for terminals, not longer than limit.
func printable(text []byte, limit int) string {
	text = text[:min(len(text), limit)]
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(string(text), "?"))
}
