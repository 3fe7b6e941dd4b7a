//go:build linux

package main

import (
	"runtime/debug"
	"strconv"
	"strings"

	"walt/netboot/instructions"
)

// listeners returns the ports on which somebody listens, from a table of /proc/net.
func listeners(table string) (ports []int) {
	const listen = "0A"
	for line := range strings.Lines(table) {
		words := strings.Fields(line)
		if len(words) < 4 || words[3] != listen {
			continue
		}
		_, port, _ := strings.Cut(words[1], ":")
		if n, err := strconv.ParseUint(port, 16, 16); err == nil {
			ports = append(ports, int(n))
		}
	}
	return ports
}

// up notes that SSH answers. From here on time counts less than memory: machines are
// small, and there is little garbage.
func (m *machine) up() {
	m.step(instructions.Up)
	debug.SetGCPercent(20)
}
