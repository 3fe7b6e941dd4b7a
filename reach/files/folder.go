package files

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"walt/fault"
	"walt/reach/files/wire"
)

// folder is one that is connected: requests go to its server, whose answers are checked.
type folder struct {
	session  *session
	name     string
	stream   io.ReadWriteCloser
	readOnly error
	wrong    func() error
	has      map[string]bool // extensions of its server
	done     chan struct{}   // closed when no answer comes any more

	asking sync.Mutex // of requests that are sent
	packet []byte     // memory for one; asking guards it

	// session.mu guards these.
	waiting map[uint32]asked // by the id that its server knows them by
	last    uint32
	failed  error       // why it answers nothing more
	patient *time.Timer // runs while it has to answer
	passing bool        // the client takes an answer
}

// asked is a request that is to be answered.
type asked struct {
	kind      uint8
	extension string // of kind wire.Extended
	id        uint32 // of the client
	opens     bool   // it is answered with a handle
	bytes     int    // that are to be read
	about     *handle
	under     string // of REALPATH: the name of the folder
}

// connect returns the folder, connected.
func (s *session) connect(name string) (*folder, error) {
	s.mu.Lock()
	f := s.open[name]
	full := f == nil && len(s.open) >= mostFolders
	s.mu.Unlock()
	if f != nil {
		return f, nil
	}
	if full && !s.closeIdle() {
		return nil, fault.Failedf("files of %d nodes and images are open", mostFolders).WithHint("close some")
	}
	to, err := s.folders.Open(s.ctx, name)
	if err != nil {
		return nil, err
	}
	f = &folder{session: s, name: name, stream: to, readOnly: to.ReadOnly, wrong: to.Wrong, has: map[string]bool{}, done: make(chan struct{}), waiting: map[uint32]asked{}}
	answers := newPackets(to)
	if err := f.greet(answers); err != nil {
		to.Close()
		return nil, f.because(err)
	}
	f.patient = time.AfterFunc(s.limit, f.giveUp)
	f.patient.Stop()
	s.mu.Lock()
	s.open[name] = f
	s.mu.Unlock()
	go f.listen(answers) // ends with the stream, which close ends
	return f, nil
}

// greet reads what the server begins with.
func (f *folder) greet(answers *packets) error {
	late := time.AfterFunc(greetLimit, func() { f.stream.Close() })
	first, err := answers.next()
	if !late.Stop() {
		return errSilent
	}
	if err != nil {
		return err
	}
	p := parser{b: first}
	if p.uint8() != wire.Version || p.uint32() != wire.Protocol {
		return errMalformed
	}
	for len(p.b) > 0 && !p.bad {
		name := p.text()
		p.text()
		f.has[string(name)] = true
	}
	if p.bad {
		return errMalformed
	}
	return nil
}

var errSilent = errors.New("it does not answer")

// because is why the folder answers nothing more, in words for users.
func (f *folder) because(err error) error {
	switch {
	case fault.As(err) != nil:
		return err
	case errors.Is(err, errMalformed), errors.Is(err, errSilent):
		return fault.Failedf("the SFTP server of %s is not in order: %v", f.name, err)
	}
	return fault.Failedf("the connection to the files of %s has ended", f.name).WithHint("see what it is doing with: node show --all")
}

// closeIdle disconnects a folder of which nothing is open.
func (s *session) closeIdle() bool {
	s.mu.Lock()
	busy := map[*folder]bool{}
	for _, h := range s.handles {
		busy[h.folder] = true
	}
	var idle *folder
	for name, f := range s.open {
		if !busy[f] && len(f.waiting) == 0 {
			idle = f
			delete(s.open, name)
			break
		}
	}
	s.mu.Unlock()
	if idle == nil {
		return false
	}
	idle.stream.Close()
	<-idle.done
	return true
}

// ask sends a request, whose answer goes to the client. Only what the client itself suffers
// from is an error.
func (f *folder) ask(r asked, fields func([]byte) []byte) error {
	s := f.session
	kind, extension := r.kind, r.extension
	if kind == wire.Extended && !f.has[extension] {
		switch extension {
		case "posix-rename@openssh.com":
			kind = wire.Rename
		case "fsync@openssh.com": // clients do without it, when they are told before that there is none; and simulated nodes have no disk
			kind = wire.Fsetstat
			fields = func(b []byte) []byte { return binary.BigEndian.AppendUint32(wire.AppendText(b, r.about.theirs), 0) }
		default:
			return s.reply(r.id, wire.CodeUnsupported, f.name+" cannot do that")
		}
		extension = ""
	}
	if err := s.take(r.bytes); err != nil {
		return err
	}
	s.mu.Lock()
	if f.failed != nil {
		s.give(1, r.bytes)
		s.mu.Unlock()
		return s.reply(r.id, wire.CodeLost, f.failed.Error())
	}
	if len(f.waiting) == 0 && !f.passing {
		f.patient.Reset(s.limit)
	}
	f.last++
	id := f.last
	f.waiting[id] = r
	s.mu.Unlock()

	f.asking.Lock()
	defer f.asking.Unlock()
	f.packet = begin(f.packet, kind, id)
	if extension != "" {
		f.packet = wire.AppendText(f.packet, extension)
	}
	f.packet = fields(f.packet)
	if _, err := f.stream.Write(end(f.packet)); err != nil {
		f.stream.Close() // and listen answers
	}
	return nil
}

// giveUp ends a folder whose server does not answer.
func (f *folder) giveUp() {
	f.fail(fault.Failedf("%s has not answered for %v", f.name, f.session.limit))
	f.stream.Close()
}

// listen passes the answers of the server on, until there are no more.
func (f *folder) listen(answers *packets) {
	defer close(f.done)
	err := error(nil)
	for err == nil {
		var packet []byte
		if packet, err = answers.next(); err == nil {
			err = f.pass(packet)
		}
	}
	f.stream.Close()
	f.end(err)
}

// fail notes why the folder answers nothing more; the first reason counts.
func (f *folder) fail(err error) {
	s := f.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.failed == nil {
		f.failed = f.because(err)
	}
	if s.open[f.name] == f {
		delete(s.open, f.name)
	}
}

// end answers what is left, that the connection is lost.
func (f *folder) end(err error) {
	f.fail(err)
	s := f.session
	s.mu.Lock()
	f.patient.Stop()
	left, why := f.waiting, f.failed
	f.waiting = nil
	for _, r := range left {
		s.give(1, r.bytes)
	}
	inUse, gone := len(left) > 0, s.over != nil
	for _, h := range s.handles {
		inUse = inUse || h.folder == f
	}
	s.mu.Unlock()
	if gone || !inUse {
		return
	}
	s.tell(why)
	for _, r := range left {
		if s.reply(r.id, wire.CodeLost, fault.Line(why)) != nil {
			return
		}
	}
}

// pass gives an answer to the client, if it is one.
func (f *folder) pass(packet []byte) error {
	p := parser{b: packet}
	kind, id := p.uint8(), p.uint32()
	s := f.session
	s.mu.Lock()
	r, here := f.waiting[id]
	if !here || f.failed != nil {
		s.mu.Unlock()
		return fmt.Errorf("%w: an answer to nothing", errMalformed)
	}
	delete(f.waiting, id)
	f.patient.Stop()
	f.passing = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.give(1, r.bytes)
		f.passing = false
		if len(f.waiting) > 0 {
			f.patient.Reset(s.limit)
		}
	}()
	answer, err := f.translate(kind, r, &p)
	if err != nil {
		if sent := s.reply(r.id, wire.CodeLost, errMalformed.Error()); sent != nil {
			return sent
		}
		return err
	}
	return s.send(answer)
}

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
