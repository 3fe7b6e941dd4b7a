package e2e

import (
	"errors"
	"fmt"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/e2e/lab"
)

// stormer is a user who takes and gives back one node of their own, again and
// again, and now and then reaches for what everybody wants.
type stormer struct {
	user, node string
	owns       bool // as the server last acknowledged
	asked      bool // a command was sent and never answered: it may be done or not
	acked      atomic.Int32
}

// TestStorm ends the server in the middle of a storm of acquires, now kindly
// and now not. What was acknowledged is still so after it, what was not is
// done or not done, and the invariant of the lab holds.
func TestStorm(t *testing.T) {
	t.Parallel()
	l, all := startStorm(t, 8)
	ends := []func() error{l.Kill, l.Stop, l.Kill, l.Kill, l.Stop, l.Kill}
	for round, end := range ends {
		var stop atomic.Bool
		var storm sync.WaitGroup
		for _, s := range all {
			storm.Go(func() { s.storm(t, l, &stop) })
		}
		if err := eventually(func() error { return blows(all, 10*(round+1)) }); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if err := end(); err != nil {
			t.Fatalf("round %d: end the server: %v", round, err)
		}
		stop.Store(true)
		storm.Wait()
		if err := l.Start(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if err := checkInvariant(l); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		checkAcknowledged(t, l, all, round)
	}
}

// blows returns an error until so many commands of all users were acknowledged.
func blows(all []*stormer, enough int) error {
	acked := 0
	for _, s := range all {
		acked += int(s.acked.Load())
	}
	if acked < enough {
		return fmt.Errorf("only %d commands were acknowledged: that is no storm", acked)
	}
	return nil
}

// startStorm starts a lab where each user has a node that nobody else touches,
// and there are two that everybody takes.
func startStorm(t *testing.T, users int) (*lab.Lab, []*stormer) {
	t.Helper()
	l := startLab(t)
	var all []*stormer
	script := "device add prize-1 --mac 52:54:00:00:03:01 --model rpi-3-b\n" +
		"device add prize-2 --mac 52:54:00:00:03:02 --model rpi-3-b\n"
	for i := range users {
		s := &stormer{user: fmt.Sprintf("user-%d", i), node: fmt.Sprintf("node-%d", i)}
		script += fmt.Sprintf("device add %s --mac 52:54:00:00:04:%02x --model rpi-3-b\n", s.node, i)
		if err := l.Add("", s.user); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	plugIn(t, l, script)
	return l, all
}

// storm works until the server goes away.
func (s *stormer) storm(t *testing.T, l *lab.Lab, stop *atomic.Bool) {
	client, err := l.Dial(s.user)
	if err != nil {
		return // the server is gone before the storm began
	}
	defer client.Close()
	for n := 0; !stop.Load(); n++ {
		if n%4 == 3 {
			if _, err := runOn(client, "node acquire --yes prize-1,prize-2"); isLost(err) {
				return
			}
			if _, err := runOn(client, "node release prize-1,prize-2"); isLost(err) {
				return
			}
		}
		command := "node acquire " + s.node
		if s.owns {
			command = "node release " + s.node
		}
		out, err := runOn(client, command)
		if isLost(err) {
			s.asked = true
			return
		}
		if err != nil {
			t.Errorf("%s: %s: %v\n%s", s.user, command, err, out)
			return
		}
		s.owns = !s.owns
		s.acked.Add(1)
	}
}

// runOn runs a command as a session of a connection.
func runOn(client *ssh.Client, command string) (string, error) {
	session, err := client.NewSession()
	if err != nil {
		return "", err
	}
	defer session.Close()
	defer time.AfterFunc(2*time.Minute, func() { client.Close() }).Stop() // it hangs
	out, err := session.CombinedOutput(command)
	return string(out), err
}

// isLost reports whether a command ended without an exit status.
func isLost(err error) bool {
	var exit *ssh.ExitError
	return err != nil && (!errors.As(err, &exit) || exit.ExitStatus() == 130)
}

// checkAcknowledged compares the lab with what the users were told.
func checkAcknowledged(t *testing.T, l *lab.Lab, all []*stormer, round int) {
	t.Helper()
	nodes, err := showNodes(l)
	if err != nil {
		t.Fatal(err)
	}
	owner := map[string]string{}
	for _, n := range nodes {
		if n.Owner != nil {
			owner[n.Name] = *n.Owner
		}
	}
	if owner["prize-1"] != owner["prize-2"] {
		t.Errorf("round %d: prize-1 is of %q and prize-2 of %q: the set was split", round, owner["prize-1"], owner["prize-2"])
	}
	for _, s := range all {
		owns := owner[s.node] == s.user
		if owns != s.owns && !s.asked {
			t.Errorf("round %d: %s was told that %s is theirs: %v; now it is of %q", round, s.user, s.node, s.owns, owner[s.node])
		}
		s.owns, s.asked = owns, false
	}
}

// TestCrossingSets lets users take sets that overlap in different orders, all at
// once. Each set is taken whole or not at all: whatever the order of the
// winners, nobody has a part of what one command named.
func TestCrossingSets(t *testing.T) {
	t.Parallel()
	l := startLab(t)
	plugIn(t, l, "device add a1 --mac 52:54:00:00:05:01 --model rpi-3-b\n"+
		"device add b2 --mac 52:54:00:00:05:02 --model rpi-3-b\n"+
		"device add c3 --mac 52:54:00:00:05:03 --model rpi-3-b\n")
	sets := map[string]string{"ann": "a1,b2", "ben": "b2,a1", "cat": "b2,c3", "dan": "c3,b2", "eve": "a1,b2,c3", "fay": "c3,a1"}
	clients := map[string]*ssh.Client{}
	for user := range sets {
		if err := l.Add("", user); err != nil {
			t.Fatal(err)
		}
		c, err := l.Dial(user)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		clients[user] = c
	}
	for round := range 25 {
		var race sync.WaitGroup
		for user, set := range sets {
			race.Go(func() {
				out, err := runOn(clients[user], "node acquire "+set)
				var exit *ssh.ExitError
				if err != nil && (!errors.As(err, &exit) || exit.ExitStatus() != 3) {
					t.Errorf("round %d: %s: %v\n%s", round, user, err, out)
				}
			})
		}
		race.Wait()
		nodes, err := showNodes(l)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string][]string{}
		for _, n := range nodes {
			if n.Owner != nil {
				got[*n.Owner] = append(got[*n.Owner], n.Name)
			}
		}
		for user, nodes := range got {
			want := strings.Split(sets[user], ",")
			sort.Strings(want)
			if sort.Strings(nodes); strings.Join(nodes, ",") != strings.Join(want, ",") {
				t.Errorf("round %d: %s asked for %v and has %v", round, user, want, nodes)
			}
			if out, err := runOn(clients[user], "node release my-nodes"); err != nil {
				t.Fatalf("round %d: %s: %v\n%s", round, user, err, out)
			}
		}
		if len(got) == 0 {
			t.Errorf("round %d: nobody won", round)
		}
	}
}
