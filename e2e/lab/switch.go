package lab

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Switch is net-snmp's agent, as that of a PoE switch, on an address that it
// keeps when it is stopped and started again. What was written to it is lost then.
type Switch struct {
	Address string
	Outlets []string // of its ports that have PoE, each GROUP.INDEX (RFC 3621)
	snmpd   string   // the program
	dir     string
	process *exec.Cmd
}

// Columns of the MIBs that the agent has.
const (
	poeAdmin   = ".1.3.6.1.2.1.105.1.1.1.3."
	poeStatus  = ".1.3.6.1.2.1.105.1.1.1.6."
	fdbPort    = ".1.3.6.1.2.1.17.4.3.1.2."
	bridgePort = ".1.3.6.1.2.1.17.1.4.1.2."
	ifName     = ".1.3.6.1.2.1.31.1.1.1.1."
)

// NewSwitch prepares a stack of so many boxes, each with so many PoE ports, whose
// files are in dir, an existing folder. Port 3 of the second box has the number 53,
// the name Gi2/0/3 and the outlet 2.3. behind is the MAC address seen behind each
// port, by number, that has one.
// It is worked with the community "private" of version 2, or by the user "walt"
// of version 3 with SHA-256 and AES, and the passwords authpass1 and privpass1.
func NewSwitch(dir string, boxes, ports int, behind map[int]string) (*Switch, error) {
	snmpd, err := exec.LookPath("snmpd")
	if err != nil {
		snmpd, err = exec.LookPath("/usr/sbin/snmpd") // where Debian has it, outside of the PATH of users
	}
	if err == nil {
		_, err = exec.LookPath("snmpget")
	}
	if err != nil {
		return nil, fmt.Errorf("install the Debian packages snmpd and snmp: %w", err)
	}
	address, err := ownAddress()
	if err != nil {
		return nil, err
	}
	s := &Switch{Address: address, snmpd: snmpd, dir: dir}
	var config strings.Builder
	fmt.Fprintf(&config, `agentAddress udp:%s
rocommunity public 127.0.0.1
rwcommunity private 127.0.0.1
createUser walt SHA-256 authpass1 AES privpass1
rwuser walt priv
`, s.Address)
	for i := range boxes * ports {
		box, in := i/ports+1, i%ports+1
		port, outlet := i/ports*50+in, fmt.Sprintf("%d.%d", box, in)
		s.Outlets = append(s.Outlets, outlet)
		fmt.Fprintf(&config, "override -rw %s%s integer 1\noverride %s%s integer 3\n", poeAdmin, outlet, poeStatus, outlet)
		fmt.Fprintf(&config, "override %s%d integer %d\noverride %s%d octet_str Gi%d/0/%d\n", bridgePort, port, 10000+port, ifName, 10000+port, box, in)
		mac, err := net.ParseMAC(behind[port])
		if err != nil {
			continue // nothing is connected there
		}
		index := make([]string, len(mac))
		for at, b := range mac {
			index[at] = fmt.Sprint(b)
		}
		fmt.Fprintf(&config, "override %s%s integer %d\n", fdbPort, strings.Join(index, "."), port)
	}
	return s, os.WriteFile(filepath.Join(dir, "snmpd.conf"), []byte(config.String()), 0o600)
}

// persist speaks pass_persist, see snmpd.conf(5): the power of port 1 is what the program OUTLET
// tells and does.
const persist = `#!/bin/sh
oid=$1
tell() { is=2; [ "$(OUTLET status)" != on ] || is=1; printf '%s\ninteger\n%s\n' $oid $is; }
while read -r word; do
	case $word in
	PING) echo PONG ;;
	get) read -r asked; if [ "$asked" = $oid ]; then tell; else echo NONE; fi ;;
	getnext) read -r asked; case $oid in "$asked".*) tell ;; *) echo NONE ;; esac ;;
	set)
		read -r asked
		read -r value
		case $value in "integer 1") OUTLET on ;; "integer 2") OUTLET off ;; esac
		echo DONE
		;;
	esac
done
`

// Worked has a program decide on the power of port 1, as that of an Outlet does. It is for a
// switch that has no other ports, and does not run.
func (s *Switch) Worked(program string) error {
	name, agent := filepath.Join(s.dir, "snmpd.conf"), filepath.Join(s.dir, "agent")
	config, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var lines []string
	for line := range strings.Lines(string(config)) {
		if !strings.HasPrefix(line, "override -rw "+poeAdmin) {
			lines = append(lines, line)
		}
	}
	lines = append(lines, fmt.Sprintf("pass_persist %s %s %s1.1\n", strings.TrimSuffix(poeAdmin, "."), agent, poeAdmin))
	return errors.Join(
		os.WriteFile(agent, []byte(strings.ReplaceAll(persist, "OUTLET", program)), 0o700),
		os.WriteFile(name, []byte(strings.Join(lines, "")), 0o600),
	)
}

// Start starts the agent and returns when it answers.
func (s *Switch) Start() error {
	if s.process != nil {
		return errors.New("the switch runs already")
	}
	s.process = exec.Command(s.snmpd, "-f", "-Lf", filepath.Join(s.dir, "log"), "-C", "-c", filepath.Join(s.dir, "snmpd.conf"), "-I", "-smux")
	s.process.Env = s.environment()
	err := s.process.Start()
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if _, err = s.Power(s.Outlets[0]); err == nil {
			return nil
		}
	}
	return errors.Join(fmt.Errorf("the switch does not answer: %w", err), s.Stop())
}

// Stop ends the agent.
func (s *Switch) Stop() error {
	if s.process == nil {
		return nil
	}
	err := s.process.Process.Kill()
	s.process.Wait()
	s.process = nil
	return err
}

// Power asks net-snmp's own client whether an outlet has power.
func (s *Switch) Power(outlet string) (on bool, err error) {
	get := exec.Command("snmpget", "-v2c", "-c", "public", "-t", "1", "-Oqv", s.Address, poeAdmin+outlet)
	get.Env = s.environment()
	out, err := get.CombinedOutput()
	if err != nil {
		return false, fmt.Errorf("snmpget: %w: %s", err, out)
	}
	return string(bytes.TrimSpace(out)) == "1", nil
}

func (s *Switch) environment() []string {
	return append(os.Environ(), "MIBS=", "SNMP_PERSISTENT_DIR="+filepath.Join(s.dir, "persistent"))
}
