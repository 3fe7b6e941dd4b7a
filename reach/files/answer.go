package files

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path"
	"slices"
	"strings"

	"walt/fault"
	"walt/reach/files/wire"
)

// translate returns the answer that the client gets. It is an error when it is none to the
// request.
func (f *folder) translate(kind uint8, r asked, p *parser) ([]byte, error) {
	rest := p.b
	switch kind {
	case wire.Status:
		code, words := p.uint32(), p.text()
		if p.bad && len(rest) < 4 { // some servers leave the words out
			return nil, errMalformed
		}
		if code > wire.CodeUnsupported {
			code = wire.CodeFailure
		}
		if code == wire.CodeFailure && f.wrong != nil {
			if err := f.wrong(); err != nil {
				f.session.tell(err)
			}
		}
		if code == wire.CodeOK && !r.isDone() {
			return nil, fmt.Errorf("%w: done, and no answer", errMalformed)
		}
		return status(nil, r.id, code, printable(words, 200)), nil
	case wire.Handle:
		theirs := p.text()
		if p.bad || len(theirs) > longestHandle || !r.opens {
			return nil, fmt.Errorf("%w: a handle", errMalformed)
		}
		return f.session.hold(r.id, &handle{folder: f, theirs: string(theirs)}), nil
	case wire.Data:
		data := p.text()
		if p.bad || r.kind != wire.Read || len(data) > r.bytes {
			return nil, fmt.Errorf("%w: data that was not asked for", errMalformed)
		}
		return end(wire.AppendText(begin(make([]byte, 0, len(data)+13), wire.Data, r.id), data)), nil
	case wire.Attrs:
		attrs := p.attrs()
		if p.bad || r.kind != wire.Stat && r.kind != wire.Lstat && r.kind != wire.Fstat {
			return nil, fmt.Errorf("%w: attributes", errMalformed)
		}
		return end(append(begin(nil, wire.Attrs, r.id), attrs...)), nil
	case wire.Name:
		switch r.kind {
		case wire.Readdir:
			return f.names(r, p)
		case wire.Realpath, wire.Readlink:
			return f.onePath(r, p)
		}
	case wire.Reply:
		const longestReply = 1 << 10
		if r.kind == wire.Extended && strings.HasSuffix(r.extension, "statvfs@openssh.com") && len(rest) <= longestReply {
			return end(append(begin(nil, wire.Reply, r.id), rest...)), nil
		}
	}
	return nil, fmt.Errorf("%w: an answer of the wrong kind", errMalformed)
}

// isDone reports whether a request is answered by a status when it is done.
func (r asked) isDone() bool {
	switch r.kind {
	case wire.Read, wire.Readdir, wire.Open, wire.Opendir, wire.Stat, wire.Lstat, wire.Fstat, wire.Realpath, wire.Readlink:
		return false
	}
	return !strings.HasSuffix(r.extension, "statvfs@openssh.com")
}

// hold gives the client a handle of its own.
func (s *session) hold(id uint32, h *handle) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	s.handles[s.last] = h
	return end(wire.AppendText(begin(nil, wire.Handle, id), binary.BigEndian.AppendUint32(nil, s.last)))
}

// perName is what a name in a list takes for who keeps it, in bytes, besides what came of it.
const perName = 200

var errListed = fault.Failedf("there are too many files in one directory, and in those that it is in").WithHint("copy its directories one by one, or an archive of them")

// names checks a part of a list of files: what is no name of one is left out.
func (f *folder) names(r asked, p *parser) ([]byte, error) {
	n := p.uint32()
	b := binary.BigEndian.AppendUint32(begin(make([]byte, 0, len(p.b)+64), wire.Name, r.id), 0)
	count := uint32(0)
	if kept := f.session.listed; kept != nil && kept.Add(int64(len(p.b))+int64(min(n, wire.Longest))*perName) > mostListed {
		f.session.tell(errListed)
		return status(b, r.id, wire.CodeFailure, errListed.Error()), nil
	}
	for range n {
		name, long, attrs := p.text(), p.text(), p.attrs()
		if p.bad {
			return nil, fmt.Errorf("%w: a list of files", errMalformed)
		}
		if len(name) == 0 || len(name) > 255 || bytes.ContainsAny(name, "/\x00") {
			continue
		}
		b = wire.AppendText(wire.AppendText(b, name), printable(long, 600))
		b = append(b, attrs...)
		count++
	}
	if r.about.names += int(n) + 1; r.about.names > mostNames {
		return nil, fmt.Errorf("%w: a directory without an end", errMalformed)
	}
	binary.BigEndian.PutUint32(b[9:], count)
	return end(b), nil
}

// onePath checks a path that is an answer, and puts it under its folder if it is from the root.
func (f *folder) onePath(r asked, p *parser) ([]byte, error) {
	n, name := p.uint32(), p.text()
	if p.bad || n != 1 || len(name) > longestPath || slices.Contains(name, 0) {
		return nil, fmt.Errorf("%w: a path", errMalformed)
	}
	if r.kind == wire.Readlink {
		return onePath(r.id, string(name)), nil
	}
	return onePath(r.id, place{folder: f.name, path: path.Clean("/" + string(name))}.show()), nil
}
