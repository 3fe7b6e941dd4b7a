package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"walt/e2e/lab"
)

// story is what goes on in one script.
type story struct {
	lab     *lab.Lab
	devices int               // that were added
	input   *string           // standard input of the next command, nil: none
	status  int               // of the last command
	talks   map[string]*talk  // by user
	masters map[string]string // control sockets of kept connections, by user

	switches  map[string]*lab.Switch // by name
	plugs     map[string]*plugs      // the same
	boards    map[string]*board      // with a serial line, by name
	others    []*lab.Registry
	gate      *lab.Gate
	daemon    *lab.Daemon
	daemonDir string
}

type storyKey struct{}

func newStory(dir string) (*story, error) {
	l, err := newLab(dir)
	return &story{lab: l, talks: map[string]*talk{}, masters: map[string]string{}, boards: map[string]*board{}}, err
}

// end ends what the story left running.
func (s *story) end(t testing.TB) {
	for user := range s.masters {
		s.disconnect(user)
	}
	for _, talk := range s.talks {
		talk.hangUp()
	}
	for _, sw := range s.switches {
		if err := sw.Stop(); err != nil {
			t.Error(err)
		}
	}
	endLab(t, s.lab)
	if err := s.endParts(); err != nil {
		t.Error(err)
	}
}

type word = func(ts *testscript.TestScript, neg bool, args []string)

// words are the commands of the stories, beside those of testscript and one
// named after each user, which runs ssh: "alice node acquire rpi-3".
var words = map[string]word{
	// lab NAME[=MODEL]... starts a registry with the images that are needed and
	// a server, and waits until these nodes (rpi-3-b unless said) are free.
	"lab": tell(0, (*story).startLab),
	// registry start|stop|damage|repair
	// registry push MODEL[,MODEL...] [preferred=NAME] [unlabeled] [as=USER/NAME[:TAG]]
	//   [version=TEXT] [created=YYYY-MM-DD] [layers=N kib=N] [platforms=ARCH,...]
	"registry": tell(1, (*story).registry),
	// switch NAME new [BOXESx]PORTS [PORT=MAC]... starts a PoE switch and sets $NAME, with _
	// for -, to its address; switch NAME start|stop
	// switch NAME off [PORT...]: these ports, of a stack GROUP.INDEX, and no others have no power, sooner or later
	// switch NAME on PORT...: these have power now
	"switch": tell(2, (*story).powerSwitch),
	// plugs NAME new starts outlets that are switched by HTTP and sets $NAME to their address
	// plugs NAME off [OUTLET...]: these and no others are off, sooner or later; on OUTLET...: these are on now
	// plugs NAME turn OUTLET on|off: by hand
	// plugs NAME be honest|lying|silent|garbled|elsewhere: what they do with requests from now on; the last one sends them to another host
	"plugs": tell(2, (*story).plugsWord),
	// board NAME new is a board whose serial line is at $NAME, for the setting serial; board NAME
	// says|hears TEXT, with Go's backslash escapes, board NAME hangs-up: who is connected.
	"board": tell(2, (*story).boardWord),
	// another-registry LABEL [USER:PASSWORD] [tls] starts one, with a command of
	// that name as "registry", $LABEL its URL and $LABEL_ca its authority.
	"another-registry": tell(1, (*story).anotherRegistry),
	// gate open|cut, gate shut KIB: what stands before the registry at $gate, and
	// lets all, nothing, or so much of its answers through.
	"gate": tell(1, (*story).gateWord),
	// daemon dockerd|podman prepare|start|stop, daemon ... import NAME MODELS: the
	// docker daemon that the server is configured for from then on.
	// daemon ... save FILE docker|docker-archive|oci-archive IMAGE...: has docker's client,
	//   or podman's in that format, pack an archive.
	"daemon": tell(2, (*story).daemonWord),
	// configure LINE... adds to the server's configuration, for its next start or reload.
	"configure": tell(1, (*story).configure),
	// [!] server start [FLAG...]; server stop|kill|restart|reload
	"server": tell(1, (*story).server),
	// user NAME... [OPTION...] makes users, with options of their keys.
	"user": tell(1, (*story).user),
	// key NAME makes a key that nobody knows. Both words set $NAME_key, a line for
	// authorized_keys, and $NAME_print, its fingerprint.
	"key": tell(1, (*story).key),
	// answer LINE..., with Go's backslash escapes, or input FILE: the standard
	// input of the next command.
	"answer": tell(0, (*story).answer),
	"input":  tell(1, (*story).inputFile),
	// long-word NAME KIB sets $NAME to a word of so many KiB.
	"long-word": tell(2, (*story).longWord),
	// damage PATTERN changes a byte in the middle of each of these files.
	"damage": tell(1, (*story).damage),
	// status N: the exit status of the last command.
	"status": tell(1, (*story).checkStatus),
	// [!] json PATH VALUE: in the last command's standard output.
	"json": tell(2, (*story).json),
	// remember NAME PATH sets $NAME to what is there in the last command's JSON.
	"remember": tell(2, (*story).remember),
	// until PATTERN USER COMMAND... repeats a command until its output matches.
	"until": tell(3, (*story).until),
	// race PREFIX N COMMAND... lets users PREFIX-1 to PREFIX-N run it at once and
	// prints how many ended with which status.
	"race": tell(3, (*story).race),
	// terminal USER [COMMAND...], pipe USER [COMMAND...]: an ssh that goes on, see converse.
	// dumb-terminal is a terminal that knows no escape sequences.
	"terminal":      tell(1, (*story).terminal),
	"dumb-terminal": tell(1, (*story).dumbTerminal),
	"pipe":          tell(1, (*story).pipe),
	// ssh USER [OPTION...] [-- COMMAND...]: with options of the client.
	"ssh": tell(1, (*story).ssh),
	// forward USER NODE:PORT: an ssh -W that goes on, over the connection that is shared if one is.
	"forward": tell(2, (*story).forward),
	// scp USER ARG..., sftp USER: the clients of OpenSSH; the server is called lab, and sftp gets its
	// commands as the input. copying is an scp that goes on, see converse.
	"scp":     tell(1, (*story).scp),
	"sftp":    tell(1, (*story).sftp),
	"copying": tell(1, (*story).copying),
	// free-port NAME sets $NAME to a port of TCP that nobody has; [!] scan PORT waits until a
	// server of SSH answers there, and writes its host keys, or until none does.
	"free-port": tell(1, (*story).freePort),
	"scan":      tell(1, (*story).scan),
	// recipe USER TOPIC TESTS [TIME]: the script that begins a topic, for ./run-tests TESTS; it
	// waits for so long where that says 30 minutes.
	"recipe": tell(3, (*story).recipe),
	// connect USER, disconnect USER: commands between share one connection.
	"connect": tell(1, (*story).connect),
	"disconnect": tell(1, func(s *story, _ *testscript.TestScript, _ bool, args []string) error {
		s.disconnect(args[0])
		return nil
	}),

	lab.Admin: tell(0, speak(lab.Admin)),
}

// tell makes a word of a method that wants at least so many arguments.
func tell(least int, f func(s *story, ts *testscript.TestScript, neg bool, args []string) error) word {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if len(args) < least {
			ts.Fatalf("%d arguments are wanted", least)
		}
		if err := f(ts.Value(storyKey{}).(*story), ts, neg, args); err != nil {
			ts.Fatalf("%v", err)
		}
	}
}

// run runs a client to its end; neg says that it must fail.
func (s *story) run(ts *testscript.TestScript, neg bool, client *exec.Cmd) error {
	if s.input != nil {
		client.Stdin, s.input = strings.NewReader(*s.input), nil
	}
	client.Stdout, client.Stderr = ts.Stdout(), ts.Stderr()
	err := s.lab.Finish(client)
	if client.ProcessState == nil {
		return err
	}
	s.status = client.ProcessState.ExitCode()
	if neg && err == nil {
		return errors.New("this was to fail")
	}
	if !neg && err != nil {
		return fmt.Errorf("exit status %d", s.status)
	}
	return nil
}

func (s *story) answer(ts *testscript.TestScript, _ bool, args []string) error {
	text := strings.Join(args, "\n") + "\n"
	text, err := strconv.Unquote(`"` + strings.NewReplacer("\n", `\n`, `"`, `\"`).Replace(text) + `"`)
	s.input = &text
	return err
}

func (s *story) longWord(ts *testscript.TestScript, _ bool, args []string) error {
	kib, err := strconv.Atoi(args[1])
	ts.Setenv(args[0], strings.Repeat("a", kib<<10))
	return err
}

func (s *story) damage(_ *testscript.TestScript, _ bool, args []string) error {
	files, err := filepath.Glob(args[0])
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("no file is called %s", args[0])
	}
	for _, file := range files {
		content, readErr := os.ReadFile(file)
		if readErr == nil && len(content) > 0 {
			content[len(content)/2] ^= 1
		}
		err = errors.Join(err, readErr, os.WriteFile(file, content, 0o600))
	}
	return err
}

func (s *story) inputFile(ts *testscript.TestScript, _ bool, args []string) error {
	text := ts.ReadFile(args[0])
	s.input = &text
	return nil
}

func (s *story) checkStatus(ts *testscript.TestScript, _ bool, args []string) error {
	if want := args[0]; strconv.Itoa(s.status) != want {
		return fmt.Errorf("the exit status was %d, not %s", s.status, want)
	}
	return nil
}

func (s *story) json(ts *testscript.TestScript, neg bool, args []string) error {
	got, err := lookup(ts.ReadFile("stdout"), args[0])
	if err != nil {
		return err
	}
	if (got == args[1]) == neg {
		return fmt.Errorf("%s is %s", args[0], got)
	}
	return nil
}

func (s *story) remember(ts *testscript.TestScript, _ bool, args []string) error {
	got, err := lookup(ts.ReadFile("stdout"), args[1])
	if err == nil {
		ts.Setenv(args[0], got)
	}
	return err
}

func (s *story) until(ts *testscript.TestScript, _ bool, args []string) error {
	want, err := regexp.Compile("(?m)" + args[0])
	if err != nil {
		return err
	}
	return eventually(func() error {
		out, err := s.lab.Run("", args[1], args[2:]...)
		if err == nil && !want.MatchString(out) {
			err = fmt.Errorf("%q is not in:\n%s", args[0], out)
		}
		return err
	})
}
