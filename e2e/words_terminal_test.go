package e2e

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"
)

// talk is an ssh client that runs beside the story: on a terminal of its own or
// on pipes. What it printed is read piece by piece.
type talk struct {
	client *exec.Cmd
	in     io.WriteCloser
	enter  string // what ends a line of input
	tty    *os.File
	ended  chan struct{} // closed when the client ended and all its output is in

	mu      sync.Mutex
	printed strings.Builder
	read    int           // bytes of the clean output that sees has consumed
	more    chan struct{} // holds a token after output came
}

// startTerminal starts the client on a new terminal.
func startTerminal(client *exec.Cmd) (*talk, error) {
	return startTerminalOf("xterm-256color", client)
}

// startDumbTerminal starts the client on one that knows no escape sequences.
func startDumbTerminal(client *exec.Cmd) (*talk, error) { return startTerminalOf("dumb", client) }

func startTerminalOf(name string, client *exec.Cmd) (*talk, error) {
	client.Env = append(os.Environ(), "TERM="+name)
	tty, err := pty.StartWithSize(client, &pty.Winsize{Rows: 40, Cols: 200})
	if err != nil {
		return nil, err
	}
	t := newTalk(client, tty, "\r")
	t.tty = tty
	go t.collect(tty)
	return t, nil
}

// startPipe starts the client without a terminal.
func startPipe(client *exec.Cmd) (*talk, error) {
	in, err := client.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	client.Stdout, client.Stderr = w, w
	err = client.Start()
	w.Close()
	if err != nil {
		return nil, err
	}
	t := newTalk(client, in, "\n")
	go t.collect(out)
	return t, nil
}

func newTalk(client *exec.Cmd, in io.WriteCloser, enter string) *talk {
	return &talk{client: client, in: in, enter: enter, ended: make(chan struct{}), more: make(chan struct{}, 1)}
}

// collect keeps what the client prints until it ends.
func (t *talk) collect(out *os.File) {
	defer close(t.ended)
	defer out.Close()
	buffer := make([]byte, 4096)
	for {
		n, err := out.Read(buffer)
		t.mu.Lock()
		t.printed.Write(buffer[:n])
		t.mu.Unlock()
		select {
		case t.more <- struct{}{}:
		default:
		}
		if err != nil { // a terminal ends with EIO
			t.client.Wait()
			return
		}
	}
}

// control is what moves the cursor or paints, without a text of its own.
var control = regexp.MustCompile(`\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[^\[]|\r|\x07`)

// text is all that the client printed, as a person would quote it.
func (t *talk) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return control.ReplaceAllString(t.printed.String(), "")
}

// sees waits until the output that was not consumed yet matches, and consumes
// it up to the end of the match.
func (t *talk) sees(pattern string) error {
	want, err := regexp.Compile("(?m)" + pattern)
	if err != nil {
		return err
	}
	late := time.After(patience)
	for over := false; ; {
		text := t.text()
		if found := want.FindStringIndex(text[t.read:]); found != nil {
			t.read += found[1]
			return nil
		}
		if over {
			return fmt.Errorf("never saw %q; after what was seen before came:\n%s", pattern, text[t.read:])
		}
		select {
		case <-t.more:
		case <-t.ended:
			over = true
		case <-late:
			over = true
		}
	}
}

// keys are the ones that have a name.
var keys = map[string]string{
	"enter": "\r", "tab": "\t", "up": "\x1b[A", "down": "\x1b[B", "ctrl-c": "\x03", "ctrl-d": "\x04", "ctrl-]": "\x1d", "backspace": "\x7f",
}

// presses sends keys, by name, or texts.
func (t *talk) presses(all []string) error {
	for _, key := range all {
		if named, ok := keys[key]; ok {
			key = named
		}
		if _, err := io.WriteString(t.in, key); err != nil {
			return err
		}
	}
	return nil
}

// leaves waits for the client to end and returns its exit status.
func (t *talk) leaves() (int, error) {
	select {
	case <-t.ended:
		return t.client.ProcessState.ExitCode(), nil
	case <-time.After(patience):
		return 0, errors.New("is still there; after what was seen came:\n" + t.text()[t.read:])
	}
}

// hangUp ends the client from outside, as a lost connection does.
func (t *talk) hangUp() {
	t.client.Process.Kill()
	<-t.ended
}

// converse is what a user says and does in a terminal or on a pipe that is open.
var converse = map[string]func(s *story, ts *testscript.TestScript, t *talk, args []string) error{
	// USER sees PATTERN
	"sees": func(_ *story, _ *testscript.TestScript, t *talk, args []string) error {
		return t.sees(strings.Join(args, " "))
	},
	// USER types LINE
	"types": func(_ *story, _ *testscript.TestScript, t *talk, args []string) error {
		return t.presses([]string{strings.Join(args, " ") + t.enter})
	},
	// USER presses KEY...: tab, up, down, enter, backspace, ctrl-c, ctrl-d, ctrl-], or a text
	"presses": func(_ *story, _ *testscript.TestScript, t *talk, args []string) error { return t.presses(args) },
	// USER resizes: to a narrow window
	"resizes": func(_ *story, _ *testscript.TestScript, t *talk, _ []string) error {
		return pty.Setsize(t.tty, &pty.Winsize{Rows: 20, Cols: 60})
	},
	// USER got-no-escapes: nothing that was printed so far is for a terminal alone
	"got-no-escapes": func(_ *story, _ *testscript.TestScript, t *talk, _ []string) error {
		t.mu.Lock()
		defer t.mu.Unlock()
		if strings.ContainsAny(t.printed.String(), "\x1b\u009b\x0e\x0f") {
			return fmt.Errorf("printed %q", t.printed.String())
		}
		return nil
	},
	// USER ends: the input
	"ends": func(_ *story, _ *testscript.TestScript, t *talk, _ []string) error { return t.in.Close() },
	// USER hangs-up
	"hangs-up": func(s *story, _ *testscript.TestScript, t *talk, _ []string) error {
		t.hangUp()
		s.forget(t)
		return nil
	},
	// USER freezes: the client does not answer any more
	"freezes": func(_ *story, _ *testscript.TestScript, t *talk, _ []string) error {
		return t.client.Process.Signal(syscall.SIGSTOP)
	},
	// USER leaves [STATUS]; all that was printed is the standard output then.
	"leaves": func(s *story, ts *testscript.TestScript, t *talk, args []string) error {
		status, err := t.leaves()
		if err != nil {
			return err
		}
		s.forget(t)
		fmt.Fprint(ts.Stdout(), t.text())
		if want := append(args, "0")[0]; strconv.Itoa(status) != want {
			return fmt.Errorf("left with status %d, not %s", status, want)
		}
		return nil
	},
}

// forget ends a talk, so that the user can begin another.
func (s *story) forget(t *talk) {
	maps.DeleteFunc(s.talks, func(_ string, other *talk) bool { return other == t })
}
