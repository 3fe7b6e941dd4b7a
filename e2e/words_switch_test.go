package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"walt/e2e/lab"
)

// powerSwitch is the word "switch".
func (s *story) powerSwitch(ts *testscript.TestScript, _ bool, args []string) error {
	name, rest := args[0], args[2:]
	sw := s.switches[name]
	if sw == nil && args[1] != "new" {
		return fmt.Errorf("there is no switch %s", name)
	}
	switch args[1] {
	case "new":
		return s.newSwitch(ts, name, rest)
	case "start":
		return sw.Start()
	case "stop":
		return sw.Stop()
	case "on":
		for _, port := range rest {
			n, err := strconv.Atoi(port)
			if err != nil {
				return err
			}
			if on, err := sw.Power(n); err != nil || !on {
				return fmt.Errorf("port %d of %s is off (%w)", n, name, err)
			}
		}
		return nil
	case "off":
		return eventually(func() error {
			var off []string
			for port := range s.ports[name] {
				on, err := sw.Power(port + 1)
				if err != nil {
					return err
				}
				if !on {
					off = append(off, strconv.Itoa(port+1))
				}
			}
			if !slices.Equal(off, rest) {
				return fmt.Errorf("off are the ports %v of %s, not %v", off, name, rest)
			}
			return nil
		})
	}
	return fmt.Errorf("switch: what is %q?", args[1])
}

func (s *story) newSwitch(ts *testscript.TestScript, name string, args []string) error {
	if len(args) == 0 {
		return errors.New("switch NAME new PORTS: PORTS is missing")
	}
	ports, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	behind := map[int]string{}
	for _, arg := range args[1:] {
		port, mac, _ := strings.Cut(arg, "=")
		n, err := strconv.Atoi(port)
		if err != nil {
			return err
		}
		behind[n] = mac
	}
	dir := filepath.Join(s.lab.Dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	sw, err := lab.NewSwitch(dir, ports, behind)
	if err != nil {
		return err
	}
	if s.switches == nil {
		s.switches, s.ports = map[string]*lab.Switch{}, map[string]int{}
	}
	s.switches[name], s.ports[name] = sw, ports
	ts.Setenv(strings.ReplaceAll(name, "-", "_"), sw.Address)
	return sw.Start()
}
