// Package files is the files of nodes and images over the connections of users: the SFTP
// subsystem of the lab, in which each node is a folder, and each image of the user's working
// set one that is read-only. It passes packets on to the SFTP server of the folder and its
// answers back, so that nothing is stored here, nodes do what their own servers can, and a copy
// costs little. Who may is said by nodes; whoever answers there is not trusted. Its one
// surprising rule: a path is only understood as far as the name of its folder; what is below,
// "..", links and strange names, means what the folder's own server makes of it.
package files

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"walt/fault"
	"walt/reach/files/wire"
)

// Folders is what a user finds in the root.
type Folders interface {
	// Look is why a folder is not for the user, nil when it is.
	Look(ctx context.Context, name string) error
	// Open connects to the SFTP server of a folder, to which the packet was sent that begins
	// a conversation. What was opened ends with ctx.
	Open(ctx context.Context, name string) (Folder, error)
	// List returns the next of the folders that are for the user, at most so many, that come
	// after a name, "" for the first ones.
	List(ctx context.Context, after string, most int) ([]string, error)
}

// Folder is a connection to an SFTP server. Its errors are faults when the user is to know why
// it ended.
type Folder struct {
	io.ReadWriteCloser
	ReadOnly error // why nothing can be changed there; nil: it can
	// Wrong returns what kept the server itself from answering, once, if anything did; nil for
	// a folder that is somewhere else.
	Wrong func() error
}

// Limits of one session. They bound what it costs, whatever a client or a node does.
const (
	mostPending = 256       // requests that are not answered
	mostReading = 512 << 10 // bytes that those would read
	mostHandles = 1000      // files and directories that are open
	mostFolders = 16        // that are connected
	mostNames   = 1_000_000 // that a node may list of one directory
	// answerLimit is how long a node may take to answer: a full disk cache of a board takes
	// its time.
	answerLimit = 5 * time.Minute
	greetLimit  = 20 * time.Second // the same, to begin with
)

// session is one client.
type session struct {
	ctx     context.Context
	folders Folders
	tell    func(error) // a sentence to the user
	limit   time.Duration
	listed  *atomic.Int64 // of a client that keeps the lists of directories here: how much memory these take; else nil

	writing sync.Mutex // of answers
	out     io.Writer
	answer  []byte // memory for one; writing guards it

	mu      sync.Mutex // guards what follows
	moved   sync.Cond  // something was answered, or is over
	handles map[uint32]*handle
	last    uint32 // handle that was given
	open    map[string]*folder
	pending int
	reading int
	over    error // why there is nobody to answer
}

// handle is a file or a directory that the client has open.
type handle struct {
	folder *folder // nil for the root
	theirs string  // the handle of the folder's server
	names  int     // that were listed
	root   *lister
}

// Serve answers a client until its requests end, and returns nil when they ended as they
// should. When ctx ends nothing more is done, and what is open is closed; it is for the caller
// to end in and out then. tell gets the reasons that the protocol has no words for, as they come,
// from several goroutines.
func Serve(ctx context.Context, folders Folders, in io.Reader, out io.Writer, tell func(error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return newSession(ctx, folders, out, tell).run(in)
}

// run answers a client as Serve does. Whoever calls it ends the context of the session then.
func (s *session) run(in io.Reader) error {
	defer s.close()
	err := s.serve(newPackets(in))
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func newSession(ctx context.Context, folders Folders, out io.Writer, tell func(error)) *session {
	s := &session{
		ctx: ctx, folders: folders, tell: tell, limit: answerLimit, out: out,
		handles: map[uint32]*handle{}, open: map[string]*folder{},
	}
	s.moved.L = &s.mu
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.over = context.Cause(ctx)
		s.moved.Broadcast()
	})
	return s
}

func (s *session) serve(in *packets) error {
	defer s.drain()
	first, err := in.next()
	if err != nil {
		return err
	}
	if p := (parser{b: first}); p.uint8() != wire.Init || p.uint32() < wire.Protocol {
		return fault.Failedf("what the client sends is not SFTP")
	}
	// What of the extensions a node does not have is refused when it is asked for, or done without.
	if err := s.send(end(wire.AppendExtensions(begin(nil, wire.Version, wire.Protocol)))); err != nil {
		return err
	}
	for {
		packet, err := in.next()
		if err != nil {
			return err
		}
		p := parser{b: packet}
		kind, id := p.uint8(), p.uint32()
		if p.bad {
			return fault.Failedf("what the client sends is not SFTP")
		}
		if err := s.request(kind, id, &p); err != nil {
			return err
		}
	}
}

// send sends a packet to the client.
func (s *session) send(packet []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	_, err := s.out.Write(packet)
	return err
}

// reply answers with a status.
func (s *session) reply(id, code uint32, words string) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.answer = status(s.answer, id, code, words)
	_, err := s.out.Write(s.answer)
	return err
}

// refuse answers that something is not done, and tells the user why: what people run shows no
// words of a status. Errors that are no faults are told as well: who has tell logs them.
func (s *session) refuse(id uint32, err error) error {
	code, words := uint32(wire.CodeFailure), "internal error"
	if f := fault.As(err); f != nil {
		words = fault.Line(f)
	}
	switch {
	case errors.Is(err, ErrNone):
		code = wire.CodeNoFile
	case errors.Is(err, ErrDenied):
		code = wire.CodeDenied
	}
	s.tell(err)
	return s.reply(id, code, words)
}

// ErrNone and ErrDenied are in the chain of errors about folders that are not there, or not
// for the user: clients show that in words of their own.
var (
	ErrNone   = errors.New("none")
	ErrDenied = errors.New("denied")
)

// drain waits until all is answered whose answer may yet come, so that a client which sends
// its requests and closes its side gets them.
func (s *session) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.pending > 0 && s.over == nil {
		s.moved.Wait()
	}
}

// close ends the connections to all folders, and with them what is open there.
func (s *session) close() {
	s.mu.Lock()
	open := s.open
	s.open = nil
	s.over = io.ErrClosedPipe
	s.moved.Broadcast()
	s.mu.Unlock()
	for _, f := range open {
		f.stream.Close()
		<-f.done
	}
}

// take waits for its turn to have one more request, that reads so many bytes.
func (s *session) take(bytes int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.over == nil && (s.pending >= mostPending || s.reading > 0 && s.reading+bytes > mostReading) {
		s.moved.Wait()
	}
	if s.over != nil {
		return s.over
	}
	s.pending++
	s.reading += bytes
	return nil
}

// give ends requests that are answered; s.mu is held.
func (s *session) give(requests, bytes int) {
	s.pending -= requests
	s.reading -= bytes
	s.moved.Broadcast()
}
