package files

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
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
