package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"

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
}

type storyKey struct{}

func newStory(dir string) (*story, error) {
	l, err := newLab(dir)
	return &story{lab: l, talks: map[string]*talk{}, masters: map[string]string{}}, err
}

// end ends what the story left running.
func (s *story) end(t testing.TB) {
	for user := range s.masters {
		s.disconnect(user)
	}
	for _, talk := range s.talks {
		talk.hangUp()
	}
	endLab(t, s.lab)
}

type word = func(ts *testscript.TestScript, neg bool, args []string)

// words are the commands of the stories, beside those of testscript and one
// named after each user, which runs ssh: "alice node acquire rpi-3".
var words = map[string]word{
	// lab NAME[=MODEL]... starts a registry with the images that are needed and
	// a server, and waits until these nodes (rpi-3-b unless said) are free.
	"lab": tell((*story).startLab),
	// registry start|stop; registry push MODEL[,MODEL...] [preferred=NAME] [unlabeled]
	"registry": tell((*story).registry),
	// [!] server start [FLAG...]; server stop|kill|restart|reload
	"server": tell((*story).server),
	// user NAME... [OPTION...] makes users, with options of their keys.
	"user": tell((*story).user),
	// key NAME makes a key that nobody knows. Both words set $NAME_key, a line for
	// authorized_keys, and $NAME_print, its fingerprint.
	"key": tell((*story).key),
	// answer LINE..., with Go's backslash escapes, or input FILE: the standard
	// input of the next command.
	"answer": tell((*story).answer),
	"input":  tell((*story).inputFile),
	// long-word NAME KIB sets $NAME to a word of so many KiB.
	"long-word": tell((*story).longWord),
	// status N: the exit status of the last command.
	"status": tell((*story).checkStatus),
	// [!] json PATH VALUE: in the last command's standard output.
	"json": tell((*story).json),
	// until PATTERN USER COMMAND... repeats a command until its output matches.
	"until": tell((*story).until),
	// race PREFIX N COMMAND... lets users PREFIX-1 to PREFIX-N run it at once and
	// prints how many ended with which status.
	"race": tell((*story).race),
	// terminal USER [COMMAND...], pipe USER [COMMAND...]: an ssh that goes on, see converse.
	"terminal": tell((*story).terminal),
	"pipe":     tell((*story).pipe),
	// ssh USER [OPTION...] [-- COMMAND...]: with options of the client.
	"ssh": tell((*story).ssh),
	// connect USER, disconnect USER: commands between share one connection.
	"connect": tell((*story).connect),
	"disconnect": tell(func(s *story, _ *testscript.TestScript, _ bool, args []string) error {
		s.disconnect(args[0])
		return nil
	}),

	lab.Admin: tell(speak(lab.Admin)),
}

// tell makes a word of a method.
func tell(f func(s *story, ts *testscript.TestScript, neg bool, args []string) error) word {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if err := f(ts.Value(storyKey{}).(*story), ts, neg, args); err != nil {
			ts.Fatalf("%v", err)
		}
	}
}

// speak is the word of one user: a command, or a part of a conversation.
func speak(user string) func(s *story, ts *testscript.TestScript, neg bool, args []string) error {
	return func(s *story, ts *testscript.TestScript, neg bool, args []string) error {
		if t := s.talks[user]; t != nil && len(args) > 0 {
			if part, ok := converse[args[0]]; ok {
				return part(s, ts, t, user, args[1:])
			}
		}
		var options []string
		if socket := s.masters[user]; socket != "" {
			options = []string{"-S", socket}
		}
		return s.run(ts, neg, s.lab.SSH(user, options, args...))
	}
}

// run runs a client to its end; neg says that it must fail.
func (s *story) run(ts *testscript.TestScript, neg bool, client *exec.Cmd) error {
	if s.input != nil {
		client.Stdin, s.input = strings.NewReader(*s.input), nil
	}
	client.Stdout, client.Stderr = ts.Stdout(), ts.Stderr()
	err := client.Run()
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

// converse is what a user does in a terminal or on a pipe that is open.
var converse = map[string]func(s *story, ts *testscript.TestScript, t *talk, user string, args []string) error{
	// USER sees PATTERN
	"sees": func(_ *story, _ *testscript.TestScript, t *talk, _ string, args []string) error {
		return t.sees(args[0])
	},
	// USER types LINE
	"types": func(_ *story, _ *testscript.TestScript, t *talk, _ string, args []string) error {
		return t.presses([]string{strings.Join(args, " ") + t.enter})
	},
	// USER presses KEY...: tab, up, down, enter, ctrl-c, ctrl-d, or a text
	"presses": func(_ *story, _ *testscript.TestScript, t *talk, _ string, args []string) error {
		return t.presses(args)
	},
	// USER resizes COLUMNS
	"resizes": func(_ *story, _ *testscript.TestScript, t *talk, _ string, args []string) error {
		columns, err := strconv.ParseUint(args[0], 10, 16)
		if err != nil {
			return err
		}
		return pty.Setsize(t.tty, &pty.Winsize{Rows: 40, Cols: uint16(columns)})
	},
	// USER ends: of input
	"ends": func(_ *story, _ *testscript.TestScript, t *talk, _ string, _ []string) error { return t.in.Close() },
	// USER hangs-up
	"hangs-up": func(s *story, _ *testscript.TestScript, t *talk, user string, _ []string) error {
		t.hangUp()
		delete(s.talks, user)
		return nil
	},
	// USER leaves [STATUS]; all that was printed is the standard output then.
	"leaves": func(s *story, ts *testscript.TestScript, t *talk, user string, args []string) error {
		want := 0
		if len(args) > 0 {
			var err error
			if want, err = strconv.Atoi(args[0]); err != nil {
				return err
			}
		}
		got, err := t.leaves()
		if err != nil {
			return err
		}
		delete(s.talks, user)
		fmt.Fprint(ts.Stdout(), t.text())
		if got != want {
			return fmt.Errorf("left with status %d, not %d", got, want)
		}
		return nil
	},
}

func (s *story) terminal(ts *testscript.TestScript, _ bool, args []string) error {
	return s.talk(args[0], startTerminal, s.lab.SSH(args[0], []string{"-tt"}, args[1:]...))
}

func (s *story) pipe(ts *testscript.TestScript, _ bool, args []string) error {
	return s.talk(args[0], startPipe, s.lab.SSH(args[0], []string{"-T"}, args[1:]...))
}

func (s *story) talk(user string, start func(*exec.Cmd) (*talk, error), client *exec.Cmd) error {
	if s.talks[user] != nil {
		return fmt.Errorf("%s is talking already", user)
	}
	t, err := start(client)
	if err == nil {
		s.talks[user] = t
	}
	return err
}

func (s *story) ssh(ts *testscript.TestScript, neg bool, args []string) error {
	options, command := args[1:], []string(nil)
	if i := slices.Index(options, "--"); i >= 0 {
		options, command = options[:i], options[i+1:]
	}
	return s.run(ts, neg, s.lab.SSH(args[0], options, command...))
}

func (s *story) connect(ts *testscript.TestScript, _ bool, args []string) error {
	socket := filepath.Join(s.lab.Dir, args[0]+".ctl")
	if out, err := s.lab.SSH(args[0], []string{"-M", "-S", socket, "-f", "-N"}).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	s.masters[args[0]] = socket
	return nil
}

func (s *story) disconnect(user string) {
	s.lab.SSH(user, []string{"-S", s.masters[user], "-O", "exit"}).Run()
	delete(s.masters, user)
}

func (s *story) startLab(ts *testscript.TestScript, _ bool, args []string) error {
	if err := s.lab.Registry.Start(); err != nil {
		return err
	}
	var script strings.Builder
	models := map[string]bool{"pc-x86-64": true}
	for _, arg := range args {
		name, model, given := strings.Cut(arg, "=")
		if !given {
			model = "rpi-3-b"
		}
		models[model] = true
		s.devices++
		fmt.Fprintf(&script, "device add %s --mac 52:54:00:00:01:%02x --model %s\n", name, s.devices, model)
	}
	for model := range models {
		if err := s.lab.Registry.Push(lab.Image{Models: []string{model}}); err != nil {
			return err
		}
	}
	if err := s.lab.Start(); err != nil {
		return err
	}
	if len(args) == 0 {
		return nil
	}
	if _, err := s.lab.Run(script.String(), lab.Admin); err != nil {
		return err
	}
	return eventually(func() error {
		nodes, err := showNodes(s.lab)
		if err == nil && len(nodes) != len(args) {
			err = fmt.Errorf("%d of %d nodes are registered", len(nodes), len(args))
		}
		return err
	})
}

func (s *story) registry(ts *testscript.TestScript, _ bool, args []string) error {
	switch args[0] {
	case "start":
		return s.lab.Registry.Start()
	case "stop":
		return s.lab.Registry.Stop()
	case "push":
		i := lab.Image{Models: strings.Split(args[1], ",")}
		for _, arg := range args[2:] {
			if name, ok := strings.CutPrefix(arg, "preferred="); ok {
				i.Preferred = name
			} else if arg == "unlabeled" {
				i.Unlabeled = true
			} else {
				return fmt.Errorf("registry push: what is %q?", arg)
			}
		}
		return s.lab.Registry.Push(i)
	}
	return fmt.Errorf("registry: what is %q?", args[0])
}

func (s *story) server(ts *testscript.TestScript, neg bool, args []string) error {
	switch args[0] {
	case "start":
		err := s.lab.Start(args[1:]...)
		if neg && err != nil {
			fmt.Fprint(ts.Stderr(), err)
			return nil
		}
		if neg {
			return errors.New("the server started")
		}
		return err
	case "stop":
		return s.lab.Stop()
	case "kill":
		return s.lab.Kill()
	case "restart":
		return errors.Join(s.lab.Stop(), s.lab.Start())
	case "reload":
		return s.lab.Signal(syscall.SIGHUP)
	}
	return fmt.Errorf("server: what is %q?", args[0])
}

func (s *story) user(ts *testscript.TestScript, _ bool, args []string) error {
	var names, options []string
	for _, arg := range args {
		if strings.Contains(arg, "=") {
			options = append(options, arg)
		} else {
			names = append(names, arg)
		}
	}
	if err := s.lab.Add(strings.Join(options, ","), names...); err != nil {
		return err
	}
	for _, name := range names {
		if err := s.give(ts, name); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) key(ts *testscript.TestScript, _ bool, args []string) error {
	if err := s.lab.NewKey(args[0]); err != nil {
		return err
	}
	return s.give(ts, args[0])
}

// give gives a person who has a key a command in the story, and $NAME_key, the
// line of the public key, and $NAME_print, its fingerprint.
func (s *story) give(ts *testscript.TestScript, name string) error {
	line, err := os.ReadFile(s.lab.Key(name) + ".pub")
	if err != nil {
		return err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(line)
	if err != nil {
		return err
	}
	ts.SetCmd(name, tell(speak(name)))
	ts.Setenv(name+"_key", strings.TrimSpace(string(line)))
	ts.Setenv(name+"_print", ssh.FingerprintSHA256(key))
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

func (s *story) race(ts *testscript.TestScript, _ bool, args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	clients, stdout, stderr := make([]*exec.Cmd, n), make([]bytes.Buffer, n), make([]bytes.Buffer, n)
	for i := range clients {
		racer := fmt.Sprintf("%s-%d", args[0], i+1)
		if _, err := os.Stat(s.lab.Key(racer)); err != nil {
			if err := s.user(ts, false, []string{racer}); err != nil {
				return err
			}
		}
		clients[i] = s.lab.SSH(racer, nil, args[2:]...)
		clients[i].Stdout, clients[i].Stderr = &stdout[i], &stderr[i]
	}
	var all sync.WaitGroup
	for _, c := range clients {
		all.Go(func() { c.Run() })
	}
	all.Wait()
	ends := map[int]int{}
	for i, c := range clients {
		ends[c.ProcessState.ExitCode()]++
		fmt.Fprintf(ts.Stderr(), "%s%s", stdout[i].Bytes(), stderr[i].Bytes())
	}
	for status, count := range ends {
		fmt.Fprintf(ts.Stdout(), "%d with status %d\n", count, status)
	}
	return nil
}
