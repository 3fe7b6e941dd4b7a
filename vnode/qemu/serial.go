package qemu

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"walt/console"
)

const (
	// serialFile is how many bytes of what a machine wrote on its serial line one file
	// of two takes.
	serialFile = 256 << 10
	// serialTail is how many bytes of it are at hand at once.
	serialTail = 16 << 10
)

// setAside keeps what the machine in a directory wrote in the boot before apart from
// what it writes in the next one.
func setAside(dir string) error {
	name := filepath.Join(dir, serialLog)
	err := os.Rename(name, name+".before")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if older := os.Remove(name + ".old"); !errors.Is(older, os.ErrNotExist) {
		err = errors.Join(err, older)
	}
	return err
}

// serial reads the serial line of a machine, which has one reader: this one, for the console
// of the node, too, which goes on over boots. What
// is written while no server is there is lost.
type serial struct {
	conn net.Conn
	line *console.Line
	log  *console.Ring
	done chan struct{} // closed when nothing more comes

	mu   sync.Mutex
	tail []byte // the last that came in this boot
}

// plug is the serial line of a machine, for its console.
type plug struct {
	net.Conn
	monitor *monitor
}

// Break has the machine see a BREAK. It comes beside what is written, maybe before that.
func (p plug) Break(ctx context.Context) error {
	return p.monitor.do(ctx, "chardev-send-break", map[string]string{"id": serialDevice}, nil)
}

// listen begins to read the serial line of the machine in a directory, which a monitor belongs to.
func listen(dir string, m *monitor, line *console.Line, log *slog.Logger) (*serial, error) {
	file, err := console.OpenRing(filepath.Join(dir, serialLog), serialFile)
	if err != nil {
		return nil, err
	}
	before, err := file.Content()
	if err != nil {
		file.Close()
		return nil, err
	}
	conn, err := net.Dial("unix", filepath.Join(dir, serialSocket))
	if err != nil {
		file.Close()
		return nil, err
	}
	s := &serial{conn: conn, line: line, log: file, done: make(chan struct{})}
	s.keep(before)
	line.PlugIn(plug{conn, m})
	go s.read(log) // ends with the connection
	return s, nil
}

// read takes what comes until the machine ends, or close. What the disk has no room
// for is at hand all the same.
func (s *serial) read(log *slog.Logger) {
	defer close(s.done)
	defer s.log.Close()
	defer s.line.Unplug("it is off")
	var full error
	b := make([]byte, 4<<10)
	for {
		n, err := s.conn.Read(b)
		s.keep(b[:n])
		s.line.Feed(b[:n])
		if _, failed := s.log.Write(b[:n]); failed != nil && full == nil {
			full = failed
			log.Error("keep what a machine writes on its serial line", "err", failed)
		}
		if err != nil {
			return
		}
	}
}

func (s *serial) keep(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tail = append(s.tail, b...)
	s.tail = slices.Delete(s.tail, 0, max(0, len(s.tail)-serialTail))
}

// end returns the last that the machine wrote.
func (s *serial) end() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.tail)
}

// close lets go of the line.
func (s *serial) close() error {
	err := s.conn.Close()
	<-s.done
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
