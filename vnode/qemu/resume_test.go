package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"walt/netboot"
	"walt/nodes"
)

// leftover is a process that a server left, which answers as a machine does.
func leftover(t *testing.T, dir string) (ended chan struct{}) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("/bin/sh", "-c", "read line", guestName(mac))
	c.Dir = dir
	hold, err := c.StdinPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	ended = make(chan struct{})
	go func() { // ends with the process
		defer close(ended)
		_ = c.Wait() // it is killed
	}()
	t.Cleanup(func() {
		hold.Close()
		<-ended
	})
	l, err := net.Listen("unix", filepath.Join(dir, controlSocket))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // ends with the test
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go answer(conn) // ends with the connection
			go func() {     // ends with the process
				<-ended
				conn.Close()
			}()
		}
	}()
	if err := os.WriteFile(filepath.Join(dir, processID), fmt.Appendln(nil, c.Process.Pid), 0o600); err != nil {
		t.Fatal(err)
	}
	return ended
}

// A machine of which somebody took files away, or all of them, is ended before another one
// is started in its place.
func TestMachineWithoutFiles(t *testing.T) {
	t.Parallel()
	for _, gone := range []string{".", processID, controlSocket} {
		t.Run(gone, func(t *testing.T) {
			t.Parallel()
			dir, other := place(t), place(t)
			ended, beside := leftover(t, dir), leftover(t, other)
			if err := os.RemoveAll(filepath.Join(dir, gone)); err != nil {
				t.Fatal(err)
			}
			if err := clear(dir); err != nil {
				t.Fatal(err)
			}
			select {
			case <-ended:
			case <-time.After(limit):
				t.Error("it runs on, and nobody knows of it")
			}
			select {
			case <-beside:
				t.Error("a machine of the same name elsewhere was ended")
			default:
			}
		})
	}
}

// With all machines of a server ends one that its files do not tell of, or nothing at all
// any more.
func TestEndAllWithoutFiles(t *testing.T) {
	t.Parallel()
	for _, gone := range []string{processID, ".", ".."} {
		t.Run(gone, func(t *testing.T) {
			t.Parallel()
			data, err := os.MkdirTemp("", "vm")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(data) })
			all := filepath.Join(data, "m")
			dir, beside := filepath.Join(all, folder(mac)), place(t)
			ended, goesOn := leftover(t, dir), leftover(t, beside)
			if err := os.RemoveAll(filepath.Join(dir, gone)); err != nil {
				t.Fatal(err)
			}
			if n, err := EndAll(all); n != 1 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
			select {
			case <-ended:
			case <-time.After(limit):
				t.Error("it runs on")
			}
			select {
			case <-goesOn:
				t.Error("a machine of another server was ended")
			default:
			}
		})
	}
}

// A server goes on with a machine that says nothing yet, and does not wait for that.
func TestMachineThatAnswersLate(t *testing.T) {
	t.Parallel()
	h, s, ended, asked := newSlow(t)
	h.Network = offline{connect: func(ctx context.Context) error {
		asked <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}}
	dir := h.place(mac)
	if err := os.Remove(filepath.Join(dir, controlSocket)); err != nil {
		t.Fatal(err)
	}
	silent, err := net.Listen("unix", filepath.Join(dir, controlSocket))
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	close(s.found)
	if !h.Resume(t.Context(), "vm1") {
		t.Fatal("the server does not go on with it")
	}
	conn, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	select {
	case <-ended:
		t.Fatal("it was ended")
	case <-asked:
		t.Fatal("the server goes on though nothing came")
	default:
	}
	go answer(conn) // ends with the connection
	<-asked         // as it is found
	h.Close()
	select {
	case <-ended:
		t.Error("it was ended")
	default:
	}
}

// A server that cannot speak to a machine which runs says so, and starts it anew.
func TestMachineWithoutSocket(t *testing.T) {
	t.Parallel()
	h, s, ended, asked := newSlow(t)
	log := new(strings.Builder)
	h.Log = slog.New(slog.NewTextHandler(log, nil))
	if err := os.Remove(filepath.Join(h.place(mac), controlSocket)); err != nil {
		t.Fatal(err)
	}
	close(s.found)
	if !h.Resume(t.Context(), "vm1") {
		t.Error("it is taken for one that is off")
	}
	<-ended
	<-asked // by the one in its place
	h.lives.Wait()
	if !strings.Contains(log.String(), "it does not answer") {
		t.Errorf("the log says %q", log)
	}
	if want := "again: " + unanswered; s.down.String() != want {
		t.Errorf("users are told %q, want %q", s.down, want)
	}
}

// It is told when a machine is ended because its node starts.
func TestStartTellsOfAMachineUnseen(t *testing.T) {
	t.Parallel()
	h, _, ended, _ := newSlow(t)
	log := new(strings.Builder)
	h.Log = slog.New(slog.NewTextHandler(log, nil))
	if err := errors.Join(os.Remove(filepath.Join(h.place(mac), processID)), h.Start("vm1")); err != nil {
		t.Fatal(err)
	}
	<-ended
	h.lives.Wait()
	if !strings.Contains(log.String(), "ran unseen was ended") {
		t.Errorf("the log says %q", log)
	}
}

// answer answers every command with the name of the machine.
func answer(conn net.Conn) {
	fmt.Fprintln(conn, `{"QMP": {}}`)
	for in := json.NewDecoder(bufio.NewReader(conn)); ; {
		var asked struct {
			ID int `json:"id"`
		}
		if in.Decode(&asked) != nil {
			return
		}
		fmt.Fprintf(conn, `{"return": {"name": %q}, "id": %d}`+"\n", guestName(mac), asked.ID)
	}
}

// slow is a lab whose boots are found when the test says so.
type slow struct {
	known
	entered, found chan struct{}
	down           *strings.Builder // what users are told
}

func (s slow) Resume(ctx context.Context, _ netboot.Machine) (bool, error) {
	close(s.entered)
	select {
	case <-s.found:
		return true, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func (s slow) Down(_ nodes.Name, again bool, why string) {
	if again {
		s.down.WriteString("again: ")
	}
	s.down.WriteString(why)
}

func (slow) ToStart(nodes.Name) bool  { return false }
func (slow) Failed(nodes.Name, error) {}
func (slow) Limits() (l nodes.Limits) { return l }

func newSlow(t *testing.T) (h *Hypervisor, s slow, ended, asked chan struct{}) {
	t.Helper()
	dir := place(t)
	ended = leftover(t, dir)
	s = slow{known{over: new(bool)}, make(chan struct{}), make(chan struct{}), new(strings.Builder)}
	asked = make(chan struct{}, 10)
	h, err := New(Config{
		Dir: filepath.Dir(dir), Lab: s, Boots: s, Log: slog.New(slog.DiscardHandler),
		Network: offline{connect: func(context.Context) error {
			asked <- struct{}{}
			return errors.New("no network")
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return h, s, ended, asked
}

// A machine that is started anew while the server goes on with it does so after that:
// what it boots next is not taken for what it booted before.
func TestStartWhileGoingOn(t *testing.T) {
	t.Parallel()
	h, s, ended, asked := newSlow(t)
	resumed, started := make(chan bool, 1), make(chan error, 1)
	go func() { resumed <- h.Resume(t.Context(), "vm1") }() // ends when it is found
	<-s.entered
	go func() { started <- h.Start("vm1") }() // ends when that is over
	select {
	case err := <-started:
		t.Errorf("it starts before it is known what it booted: %v", err)
	case <-asked:
		t.Error("two of it run at the same time")
	case <-time.After(100 * time.Millisecond): // neither happens, however long it takes
	}
	close(s.found)
	if !<-resumed {
		t.Error("it was not found")
	}
	if err := <-started; err != nil {
		t.Error(err)
	}
	<-ended // for the next one
	h.Close()
}

// A machine goes on when the server ends before it knows what that booted.
func TestEndWhileGoingOn(t *testing.T) {
	t.Parallel()
	h, s, ended, _ := newSlow(t)
	ctx, end := context.WithCancel(t.Context())
	resumed := make(chan bool, 1)
	go func() { resumed <- h.Resume(ctx, "vm1") }() // ends with ctx
	<-s.entered
	end()
	if <-resumed {
		t.Error("the server went on with it")
	}
	h.Close()
	select {
	case <-ended:
		t.Error("it was ended")
	default:
	}
}

// The server does not go on with a machine that somebody started before it came to that.
func TestStartBeforeGoingOn(t *testing.T) {
	t.Parallel()
	h, s, _, _ := newSlow(t)
	if _, _, _, err := h.begin("vm1"); err != nil {
		t.Fatal(err)
	}
	h.lives.Done()
	if !h.Resume(t.Context(), "vm1") {
		t.Error("it would be started once more")
	}
	select {
	case <-s.entered:
		t.Error("its boot is taken for the one before")
	default:
	}
	h.Close()
}
