package nodes

import (
	"fmt"
	"strconv"
	"testing"
)

// BenchmarkShow lists 10,000 nodes, all of them connected to ports of switches.
func BenchmarkShow(b *testing.B) {
	const nodes, ports = 10_000, 48
	l := newLab(b, nil)
	for i := range nodes {
		sw := Name(fmt.Sprintf("sw-%d", i/ports))
		if i%ports == 0 {
			l.addSwitch(b, sw, string(sw), "poe.reboots=true")
		}
		n := Name(fmt.Sprintf("n%d", i))
		l.node(b, n, "m1")
		l.configure(b, n, "switch="+string(sw), "port="+strconv.Itoa(i%ports+1))
	}
	for what, set := range map[string]string{"all": "all-nodes", "one": "n77"} {
		b.Run(what, func(b *testing.B) {
			for b.Loop() {
				all, err := l.Show(b.Context(), "alice", parse(set))
				ok(b, err)
				if all[0].Switch == "" {
					b.Fatal("not connected")
				}
			}
		})
	}
}
