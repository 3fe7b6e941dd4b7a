package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"
)

// speak is the word of one user: a command, or a part of a conversation.
func speak(user string) func(s *story, ts *testscript.TestScript, neg bool, args []string) error {
	return func(s *story, ts *testscript.TestScript, neg bool, args []string) error {
		if t := s.talks[user]; t != nil && len(args) > 0 {
			if part, ok := converse[args[0]]; ok {
				return part(s, ts, t, args[1:])
			}
		}
		var options []string
		if socket := s.masters[user]; socket != "" {
			options = []string{"-S", socket}
		}
		return s.run(ts, neg, s.lab.SSH(user, options, args...))
	}
}

func (s *story) terminal(_ *testscript.TestScript, _ bool, args []string) error {
	return s.onTerminal(startTerminal, args)
}

func (s *story) dumbTerminal(_ *testscript.TestScript, _ bool, args []string) error {
	return s.onTerminal(startDumbTerminal, args)
}

func (s *story) onTerminal(start func(*exec.Cmd) (*talk, error), args []string) error {
	options := []string{"-tt"}
	if len(args) == 1 { // a shell has one anyway, and goes on without
		options = nil
	}
	return s.talk(args[0], start, s.lab.SSH(args[0], options, args[1:]...))
}

func (s *story) pipe(ts *testscript.TestScript, _ bool, args []string) error {
	return s.talk(args[0], startPipe, s.lab.SSH(args[0], []string{"-T"}, args[1:]...))
}

func (s *story) forward(_ *testscript.TestScript, _ bool, args []string) error {
	options := []string{"-W", args[1]}
	if socket := s.masters[args[0]]; socket != "" {
		options = append(options, "-S", socket)
	}
	return s.talk(args[0], startPipe, s.lab.SSH(args[0], options))
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

// over returns a program that connects as the user, with the client's options.
func (s *story) over(program, user string, args ...string) *exec.Cmd {
	options := s.lab.SSH(user, nil).Args
	last := len(options) - 1
	if port := slices.Index(options, "-p"); port >= 0 { // which is something else to these
		options[port], options[port+1] = "-o", "Port="+options[port+1]
	}
	if socket := s.masters[user]; socket != "" {
		args = append([]string{"-o", "ControlPath=" + socket}, args...)
	}
	for i, a := range args {
		if path, is := strings.CutPrefix(a, "lab:"); is {
			args[i] = options[last] + ":" + path
		}
	}
	return exec.Command(program, slices.Concat(options[1:last], args)...)
}

func (s *story) scp(ts *testscript.TestScript, neg bool, args []string) error {
	client := s.over("scp", args[0], args[1:]...)
	client.Dir = ts.MkAbs(".")
	return s.run(ts, neg, client)
}

func (s *story) copying(ts *testscript.TestScript, _ bool, args []string) error {
	client := s.over("scp", args[0], args[1:]...)
	client.Dir = ts.MkAbs(".")
	return s.talk(args[0], startTerminal, client)
}

func (s *story) sftp(ts *testscript.TestScript, neg bool, args []string) error {
	client := s.over("sftp", args[0], append([]string{"-b", "-"}, append(args[1:], "lab:")...)...)
	client.Dir = ts.MkAbs(".")
	return s.run(ts, neg, client)
}

func (s *story) recipe(ts *testscript.TestScript, neg bool, args []string) error {
	text, err := s.lab.Run("", args[0], "help", "show", args[1])
	if err != nil {
		return err
	}
	var script strings.Builder
	client := s.lab.SSH(args[0], nil)
	fmt.Fprintf(&script, "ssh() { shift; command %s \"$@\"; }\n", strings.Join(client.Args, " "))
	limit := append(args[3:], "30m")[0]
	for line := range strings.Lines(text) {
		if line, is := strings.CutPrefix(line, "    "); is {
			script.WriteString(strings.NewReplacer("./run-tests", args[2], "--timeout 30m", "--timeout "+limit).Replace(line))
		} else if strings.HasSuffix(script.String(), args[2]+"\n") {
			break
		}
	}
	return s.run(ts, neg, exec.Command("sh", "-c", script.String()))
}

func (s *story) connect(ts *testscript.TestScript, _ bool, args []string) error {
	socket := filepath.Join(s.lab.Dir, args[0]+".ctl")
	if err := s.lab.Finish(s.lab.SSH(args[0], []string{"-M", "-S", socket, "-f", "-N"})); err != nil {
		return err
	}
	s.masters[args[0]] = socket
	return nil
}

func (s *story) disconnect(user string) {
	s.lab.Finish(s.lab.SSH(user, []string{"-S", s.masters[user], "-O", "exit"}))
	delete(s.masters, user)
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
	ts.SetCmd(name, tell(0, speak(name)))
	ts.Setenv(name+"_key", strings.TrimSpace(string(line)))
	ts.Setenv(name+"_print", ssh.FingerprintSHA256(key))
	return nil
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
		all.Go(func() { s.lab.Finish(c) })
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
