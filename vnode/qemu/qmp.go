package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// answerLimit is how long a machine may take to answer: as long as to start, since its
// host may be as busy.
const answerLimit = startLimit

// errGone is the error of commands to a machine that ended.
var errGone = errors.New("the machine ended")

// monitor is a connection to the control socket of a machine: QMP, lines of JSON,
// see https://www.qemu.org/docs/master/interop/qmp-spec.html. A machine has one
// such connection at a time.
type monitor struct {
	conn net.Conn
	gone chan struct{} // closed when the connection has ended

	mu      sync.Mutex
	next    int                  // number of the next command
	waiting map[int]chan message // for answers, by number
	reason  string               // of the machine's end, as its last event SHUTDOWN says
}

// message is whatever a machine says: a greeting, an answer, or an event.
type message struct {
	QMP    json.RawMessage `json:"QMP"`
	ID     int             `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Desc string `json:"desc"`
	} `json:"error"`
	Event string `json:"event"`
	Data  struct {
		Reason string `json:"reason"`
	} `json:"data"`
}

// attach connects to the control socket in a file.
func attach(ctx context.Context, file string) (*monitor, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", file)
	if err != nil {
		return nil, err
	}
	m := &monitor{conn: conn, gone: make(chan struct{}), waiting: map[int]chan message{}}
	from := json.NewDecoder(conn)
	var greeting message
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	err = from.Decode(&greeting)
	switch {
	case !stop() && ctx.Err() != nil:
		err = fmt.Errorf("it says nothing: %w", ctx.Err())
	case err == nil && greeting.QMP == nil:
		err = errors.New("no QMP")
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("speak to %s: %w", file, err)
	}
	go m.listen(from) // ends with the connection
	if err := m.do(ctx, "qmp_capabilities", nil, nil); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// listen takes what the machine says until the connection ends.
func (m *monitor) listen(from *json.Decoder) {
	defer close(m.gone)
	defer m.conn.Close()
	for {
		var said message
		if err := from.Decode(&said); err != nil {
			return
		}
		m.mu.Lock()
		switch {
		case said.Event == "SHUTDOWN":
			m.reason = said.Data.Reason
		case said.Event == "":
			if to := m.waiting[said.ID]; to != nil {
				delete(m.waiting, said.ID)
				to <- said // has room
			}
		}
		m.mu.Unlock()
	}
}

// do has the machine carry out a command, and puts what it returns into result
// unless that is nil.
func (m *monitor) do(ctx context.Context, command string, arguments, result any) error {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	answer := make(chan message, 1)
	m.mu.Lock()
	m.next++
	id := m.next
	m.waiting[id] = answer
	line, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        int    `json:"id"`
	}{command, arguments, id})
	if err == nil {
		if err = m.conn.SetWriteDeadline(time.Now().Add(answerLimit)); err == nil {
			_, err = m.conn.Write(line)
		}
	}
	if err != nil {
		delete(m.waiting, id)
	}
	m.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	select {
	case a := <-answer:
		if a.Error != nil {
			return fmt.Errorf("%s: %s", command, a.Error.Desc)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(a.Return, result)
	case <-m.gone:
		return errGone
	case <-ctx.Done():
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.waiting, id)
		return fmt.Errorf("%s: %w", command, ctx.Err())
	}
}

// ended returns why the machine ended, "" when it did not say.
func (m *monitor) ended() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reason
}

// close lets go of the machine, which goes on.
func (m *monitor) close() {
	m.conn.Close()
	<-m.gone
}
