package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"

	"walt/e2e/lab"
)

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

func (s *story) freePort(ts *testscript.TestScript, _ bool, args []string) error {
	return eventually(func() error {
		port := strconv.Itoa(10_000 + rand.IntN(20_000)) // which the system gives to nobody by itself
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			return err
		}
		ts.Setenv(args[0], port)
		return l.Close()
	})
}

func (s *story) scan(ts *testscript.TestScript, neg bool, args []string) error {
	return eventually(func() error {
		keys, _ := exec.Command("ssh-keyscan", "-p", args[0], "127.0.0.1").Output() // which fails when there are none
		if neg != (len(keys) == 0) {
			return fmt.Errorf("port %s answers with %q", args[0], keys)
		}
		_, err := ts.Stdout().Write(keys)
		return err
	})
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

func (s *story) configure(_ *testscript.TestScript, _ bool, args []string) error {
	f, err := os.OpenFile(s.lab.Config, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, "\n"+strings.Join(args, "\n"))
	return errors.Join(err, f.Close())
}
