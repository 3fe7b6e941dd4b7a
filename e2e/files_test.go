package e2e

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"walt/e2e/lab"
)

// Two hundred copies to a node at once, over some connections, leave the server to others: these are
// answered before the copies have gone on much, and the log tells of one event.
func TestManyCopies(t *testing.T) {
	t.Parallel()
	const (
		conns, each = 4, 50
		most        = 50 * conns * each // pieces that are copied while somebody else is answered
	)
	l := startLab(t)
	if _, err := l.Run("node create n1 --model rpi-3-b\nnode wait n1\n", lab.Admin); err != nil {
		t.Fatal(err)
	}
	if err := l.Add("", "bob"); err != nil {
		t.Fatal(err)
	}
	bob, err := l.Dial("bob")
	if err != nil {
		t.Fatal(err)
	}
	defer bob.Close()
	var opening errgroup.Group
	files := make([]*sftp.File, conns*each)
	for conn := range conns {
		admin, err := l.Dial(lab.Admin)
		if err != nil {
			t.Fatal(err)
		}
		defer admin.Close()
		for i := range each {
			opening.Go(func() error {
				c, err := sftp.NewClient(admin)
				if err == nil {
					files[conn*each+i], err = c.OpenFile("n1:/dev/null", os.O_WRONLY)
				}
				return err
			})
		}
	}
	if err := opening.Wait(); err != nil {
		t.Fatal(err)
	}
	var pieces atomic.Int64
	var over atomic.Bool
	began := make(chan struct{}, len(files))
	var copying errgroup.Group
	for _, f := range files {
		copying.Go(func() error {
			for p := make([]byte, 4<<10); !over.Load(); pieces.Add(1) {
				if _, err := f.Write(p); err != nil {
					return err
				}
				select {
				case began <- struct{}{}:
				default:
				}
			}
			return f.Close()
		})
	}
	for range files {
		<-began
	}
	for range 3 {
		before := pieces.Load()
		out, err := whoami(bob)
		if took := pieces.Load() - before; err != nil || !strings.Contains(out, "bob") || took > most {
			t.Errorf("answered after %d pieces of others: %q, %v", took, out, err)
		}
	}
	over.Store(true)
	if err := copying.Wait(); err != nil {
		t.Error(err)
	}
	if err := l.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	out, err := l.Run("", lab.Admin, "log", "show", "--type", "reach")
	if err != nil || strings.Count(out, "\n") != 1 || !strings.Contains(out, "admin n1: its files, for ") || !strings.Contains(out, fmt.Sprintf(", %d times", len(files))) {
		t.Errorf("the log tells %v:\n%s", err, out)
	}
}

func whoami(c *ssh.Client) (string, error) {
	s, err := c.NewSession()
	if err != nil {
		return "", err
	}
	defer s.Close()
	out, err := s.CombinedOutput("whoami")
	return string(out), err
}
