package files

import (
	"encoding/binary"
	"errors"

	"walt/fault"
)

// errBeside is the answer to who would put files beside folders.
var errBeside = errors.Join(fault.Failedf("files are in nodes and images, not beside them").
	WithHint("begin the path with a node, as in scp FILE lab:rpi-3:/root/"), ErrDenied)

// aboutRoot answers what is asked about the root of folders.
func (s *session) aboutRoot(kind uint8, id uint32) error {
	switch kind {
	case typeRealpath:
		return s.send(onePath(id, "/"))
	case typeStat, typeLstat:
		return s.send(end(folderAttrs(begin(nil, typeAttrs, id))))
	case typeOpendir:
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
	b := begin(nil, typeReply, id)
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
	case typeClose:
		return s.reply(id, codeOK, "")
	case typeFstat:
		return s.send(end(folderAttrs(begin(nil, typeAttrs, id))))
	case typeReaddir:
	default:
		return s.refuse(id, errBeside)
	}
	if at.end {
		return s.reply(id, codeEOF, "")
	}
	names, err := s.folders.List(s.ctx, at.after, page)
	if err != nil {
		return s.refuse(id, err)
	}
	if len(names) == 0 {
		at.end = true
		return s.reply(id, codeEOF, "")
	}
	at.after = names[len(names)-1]
	b := binary.BigEndian.AppendUint32(begin(nil, typeName, id), uint32(len(names)))
	for _, name := range names {
		b = appendText(appendText(b, name), "dr-xr-xr-x    1 root     root            0 Jan  1  1970 "+name)
		b = folderAttrs(b)
	}
	return s.send(end(b))
}
