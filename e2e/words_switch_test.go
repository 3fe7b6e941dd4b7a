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
		for _, outlet := range outlets(rest) {
			if on, err := sw.Power(outlet); err != nil || !on {
				return fmt.Errorf("%s of %s is off (%w)", outlet, name, err)
			}
		}
		return nil
	case "off":
		return eventually(func() error {
			var off []string
			for _, outlet := range sw.Outlets {
				on, err := sw.Power(outlet)
				if err != nil {
					return err
				}
				if !on {
					off = append(off, outlet)
				}
			}
			if want := outlets(rest); !slices.Equal(off, want) {
				return fmt.Errorf("off are the outlets %v of %s, not %v", off, name, want)
			}
			return nil
		})
	}
	return fmt.Errorf("switch: what is %q?", args[1])
}

// outlets are those of ports: of a switch that is no stack, by number.
func outlets(ports []string) (all []string) {
	for _, port := range ports {
		if !strings.Contains(port, ".") {
			port = "1." + port
		}
		all = append(all, port)
	}
	return all
}

func (s *story) newSwitch(ts *testscript.TestScript, name string, args []string) error {
	if len(args) == 0 {
		return errors.New("switch NAME new PORTS: PORTS is missing")
	}
	first, second, stack := strings.Cut(args[0], "x")
	if !stack {
		first, second = "1", first
	}
	boxes, err := strconv.Atoi(first)
	if err != nil {
		return err
	}
	ports, err := strconv.Atoi(second)
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
	sw, err := lab.NewSwitch(dir, boxes, ports, behind)
	if err != nil {
		return err
	}
	if s.switches == nil {
		s.switches = map[string]*lab.Switch{}
	}
	s.switches[name] = sw
	ts.Setenv(strings.ReplaceAll(name, "-", "_"), sw.Address)
	return sw.Start()
}
