package e2e

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"walt/e2e/lab"
)

// Two hundred connections to a node at once go through one client, and the log tells of
// them as of one.
func TestManyForwards(t *testing.T) {
	t.Parallel()
	const many = 200
	l := startLab(t)
	if _, err := l.Run("node create n1 --model rpi-3-b\nnode wait n1\n", lab.Admin); err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.Addr().String()
	free.Close()
	client := l.SSH(lab.Admin, []string{"-N", "-o", "ExitOnForwardFailure=yes", "-L", at + ":n1:22"})
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- client.Wait() }() // ends with the client
	if err := eventually(func() error {
		c, err := net.Dial("tcp", at)
		if err == nil {
			c.Close()
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	conns := make([]net.Conn, many)
	var opening errgroup.Group
	for i := range conns {
		opening.Go(func() (err error) {
			if conns[i], err = net.Dial("tcp", at); err != nil {
				return err
			}
			if err := conns[i].SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
				return err
			}
			line, err := bufio.NewReader(conns[i]).ReadString('\n')
			if err == nil && !strings.HasPrefix(line, "SSH-2.0-walt-simulated-node") {
				err = fmt.Errorf("it says %q", line)
			}
			return err
		})
	}
	if err := opening.Wait(); err != nil {
		t.Fatal(err)
	}
	if out, err := l.Run("", lab.Admin, "whoami"); err != nil {
		t.Errorf("the server is busy: %s, %v", out, err)
	}
	for _, c := range conns {
		c.Close()
	}
	if err := client.Process.Kill(); err != nil {
		t.Error(err)
	}
	<-ended
	if err := l.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	out, err := l.Run("", lab.Admin, "log", "show", "--type", "reach")
	if err != nil || strings.Count(out, "\n") != 1 || !strings.Contains(out, "admin n1: port 22, for ") || !strings.Contains(out, fmt.Sprintf(", %d times", many+1)) {
		t.Errorf("the log tells %v:\n%s", err, out)
	}
}
