package lab

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"walt/power/snmp/snmptest"
)

// Switch is net-snmp's agent, as that of a PoE switch.
type Switch struct {
	*snmptest.Agent
	Outlets []string // of its ports that have PoE, each GROUP.INDEX (RFC 3621)
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
func NewSwitch(dir string, boxes, ports int, behind map[int]string) (*Switch, error) {
	agent, err := snmptest.New(dir)
	if err != nil {
		return nil, err
	}
	s := &Switch{Agent: agent}
	var config strings.Builder
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
	s.Config = config.String()
	return s, nil
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
	var lines []string
	for line := range strings.Lines(s.Config) {
		if !strings.HasPrefix(line, "override -rw "+poeAdmin) {
			lines = append(lines, line)
		}
	}
	agent := filepath.Join(s.Dir, "agent")
	s.Config = strings.Join(lines, "") + fmt.Sprintf("pass_persist %s %s %s1.1\n", strings.TrimSuffix(poeAdmin, "."), agent, poeAdmin)
	return os.WriteFile(agent, []byte(strings.ReplaceAll(persist, "OUTLET", program)), 0o700)
}

// Power asks net-snmp's own client whether an outlet has power.
func (s *Switch) Power(outlet string) (on bool, err error) {
	value, err := s.Get(poeAdmin + outlet)
	return value == "1", err
}
