package files

import (
	"encoding/binary"
	"errors"

	"walt/fault"
	"walt/reach/files/wire"
)

// errBeside is the answer to who would put files beside folders.
var errBeside = errors.Join(fault.Failedf("files are in nodes and images, not beside them").
	WithHint("begin the path with a node, as in scp FILE lab:rpi-3:/root/"), ErrDenied)

// aboutRoot answers what is asked about the root of folders.
func (s *session) aboutRoot(kind uint8, id uint32) error {
	switch kind {
	case wire.Realpath:
		return s.send(onePath(id, "/"))
	case wire.Stat, wire.Lstat:
		return s.send(end(folderAttrs(begin(nil, wire.Attrs, id))))
	case wire.Opendir:
		if !s.room() {
			return s.refuse(id, errHandles)
		}
		return s.send(s.hold(id, &handle{root: new(lister)}))
	}
	return s.refuse(id, errBeside)
}

// noSpace is the answer to how much room there is, see PROTOCOL of OpenSSH, section 4.4: in the
// root there is none. Programs that have a folder mounted ask.
func noSpace(id uint32) []byte {
	b := begin(nil, wire.Reply, id)
	const readOnly, longestName = 1, 255
	for _, n := range []uint64{4096, 4096, 0, 0, 0, 0, 0, 0, 0, readOnly, longestName} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return end(b)
}

// lister is where a client is in the list of folders.
type lister struct {
	after string // the last that was told
	end   bool
}

// page is how many folders are told at once.
const page = 500

// aboutRootHandle answers what is asked about the root that is open.
func (s *session) aboutRootHandle(kind uint8, id uint32, at *lister) error {
	switch kind {
	case wire.Close:
		return s.reply(id, wire.CodeOK, "")
	case wire.Fstat:
		return s.send(end(folderAttrs(begin(nil, wire.Attrs, id))))
	case wire.Readdir:
	default:
		return s.refuse(id, errBeside)
	}
	if at.end {
		return s.reply(id, wire.CodeEOF, "")
	}
	names, err := s.folders.List(s.ctx, at.after, page)
	if err != nil {
		return s.refuse(id, err)
	}
	if len(names) == 0 {
		at.end = true
		return s.reply(id, wire.CodeEOF, "")
	}
	at.after = names[len(names)-1]
	b := binary.BigEndian.AppendUint32(begin(nil, wire.Name, id), uint32(len(names)))
	for _, name := range names {
		b = wire.AppendText(wire.AppendText(b, name), "dr-xr-xr-x    1 root     root            0 Jan  1  1970 "+name)
		b = folderAttrs(b)
	}
	return s.send(end(b))
}
