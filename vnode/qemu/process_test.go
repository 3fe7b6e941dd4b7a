package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"walt/fault"
)

// A process that does not end though it was killed keeps nobody: who waits for its end is
// told so.
func TestProcessThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	c := exec.Command("/bin/sh", "-c", "read line")
	hold, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		if await(c.Process, nil, killLimit) {
			t.Error("it has ended")
		}
	})
	if err := errors.Join(hold.Close(), c.Wait()); err != nil && c.ProcessState == nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		m := &Machine{process: c.Process, gone: make(chan struct{})} // nobody is told that it ended
		err := m.Kill()
		if f := fault.As(err); f == nil || f.Hint == "" {
			t.Errorf("an administrator is told %v", err)
		}
		words := cutWords(errors.Join(context.Canceled, err))
		if want := fmt.Sprintf("the process %d of its machine does not end", c.Process.Pid); !strings.Contains(words, want) {
			t.Errorf("users are told %q, want %q", words, want)
		}
	})
}

// A machine whose host is busy is believed to answer as long as one that starts.
func TestSlowAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		m := &monitor{conn: ours, gone: make(chan struct{}), waiting: map[int]chan message{}}
		go m.listen(json.NewDecoder(ours)) // ends with the connection
		go func() {                        // ends with the connection
			if json.NewDecoder(theirs).Decode(new(message)) == nil {
				time.Sleep(startLimit - time.Second)
				fmt.Fprintln(theirs, `{"return": {}, "id": 1}`)
			}
		}()
		if err := m.do(t.Context(), "query-name", nil, nil); err != nil {
			t.Error(err)
		}
		m.close()
		theirs.Close()
	})
}
