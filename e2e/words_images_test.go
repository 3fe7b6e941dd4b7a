package e2e

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"walt/e2e/lab"
)

func (s *story) registry(_ *testscript.TestScript, _ bool, args []string) error {
	return registryWord(s.lab.Registry, args)
}

func registryWord(r *lab.Registry, args []string) error {
	switch args[0] {
	case "start":
		return r.Start()
	case "stop":
		return r.Stop()
	case "damage", "repair":
		return r.Damage()
	case "push":
		i, err := parseImage(args[1:])
		return cmp.Or(err, r.Push(i))
	}
	return fmt.Errorf("registry: what is %q?", args[0])
}

func parseImage(args []string) (i lab.Image, err error) {
	i.Models = strings.Split(args[0], ",")
	for _, arg := range args[1:] {
		what, value, _ := strings.Cut(arg, "=")
		switch what {
		case "preferred":
			i.Preferred = value
		case "unlabeled":
			i.Unlabeled = true
		case "as":
			if i.Name = value; !strings.Contains(value, ":") {
				i.Name += ":latest"
			}
		case "version":
			i.Version = value
		case "created":
			i.Created, err = time.Parse(time.DateOnly, value)
		case "layers":
			i.Layers, err = strconv.Atoi(value)
		case "kib":
			i.Bulk, err = strconv.Atoi(value)
		case "platforms":
			i.Platforms = strings.Split(value, ",")
		default:
			err = fmt.Errorf("registry push: what is %q?", arg)
		}
		if err != nil {
			return i, err
		}
	}
	return i, nil
}

// anotherRegistry starts one beside the lab's.
func (s *story) anotherRegistry(ts *testscript.TestScript, _ bool, args []string) error {
	label := args[0]
	dir := filepath.Join(s.lab.Dir, "registry-"+label)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	r, err := lab.NewRegistry(dir)
	if err != nil {
		return err
	}
	for _, arg := range args[1:] {
		switch {
		case arg == "tls":
			r.TLS = true
		case strings.Contains(arg, ":"):
			r.User, r.Password, _ = strings.Cut(arg, ":")
		default:
			return fmt.Errorf("another-registry: what is %q?", arg)
		}
	}
	s.others = append(s.others, r)
	ts.SetCmd(label, tell(1, func(_ *story, _ *testscript.TestScript, _ bool, args []string) error { return registryWord(r, args) }))
	ts.Setenv(label, r.URL())
	ts.Setenv(label+"_ca", r.CA())
	return r.Start()
}

// gateWord stands before the lab's registry.
func (s *story) gateWord(ts *testscript.TestScript, _ bool, args []string) (err error) {
	if s.gate == nil {
		if s.gate, err = lab.NewGate(s.lab.Registry.Address()); err != nil {
			return err
		}
		ts.Setenv("gate", s.gate.URL())
	}
	switch args[0] {
	case "open":
		s.gate.Open()
	case "cut":
		s.gate.Cut()
	case "shut":
		kib, err := strconv.ParseInt(args[1], 10, 64)
		s.gate.Shut(kib << 10)
		return err
	default:
		return fmt.Errorf("gate: what is %q?", args[0])
	}
	return nil
}

// daemonWord is about a docker daemon: its program comes first. It is the one of
// the server's configuration from then on.
func (s *story) daemonWord(ts *testscript.TestScript, _ bool, args []string) (err error) {
	if s.daemon == nil {
		dir, err := os.MkdirTemp("", "walt-") // short, for its socket
		if err != nil {
			return err
		}
		if s.daemon, err = lab.NewDaemon(dir, args[0]); err != nil {
			return err
		}
		s.daemonDir = dir
		config, err := os.ReadFile(s.lab.Config)
		if err != nil {
			return err
		}
		config = bytes.Replace(config, []byte(`host = ""`), fmt.Appendf(nil, "host = %q", s.daemon.Host()), 1)
		if err := os.WriteFile(s.lab.Config, config, 0o644); err != nil {
			return err
		}
	}
	switch args[1] {
	case "prepare":
		return nil
	case "start":
		return s.daemon.Start()
	case "stop":
		return s.daemon.Stop()
	case "import":
		return s.daemon.Import(args[2], strings.Split(args[3], ","))
	case "save":
		return s.daemon.Save(ts.MkAbs(args[2]), args[3], args[4:]...)
	}
	return fmt.Errorf("daemon: what is %q?", args[1])
}

// endParts ends what stands around the lab.
func (s *story) endParts() error {
	var errs []error
	if s.gate != nil {
		s.gate.Close()
	}
	for _, r := range s.others {
		errs = append(errs, r.Stop())
	}
	if s.daemon != nil {
		errs = append(errs, s.daemon.Stop(), os.RemoveAll(s.daemonDir))
	}
	return errors.Join(errs...)
}

// hasPart tells stories which parts this machine can run: [part:dockerd].
func hasPart(condition string) (bool, error) {
	part, ok := strings.CutPrefix(condition, "part:")
	if !ok {
		return false, fmt.Errorf("unknown condition %q", condition)
	}
	_, err := exec.LookPath(part)
	_, client := exec.LookPath("docker") // imports images
	return err == nil && client == nil && os.Geteuid() == 0, nil
}
