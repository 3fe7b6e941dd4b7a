package badger_test

import (
	"bufio"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestFullDisk fills the disk of a writing store within an instant, at any
// moment, again and again: it refuses writes until there is room, and goes on.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root mounts a small file system")
	}
	const rounds = 3 // 30 of 30 were survived, when that was tried
	for name, mount := range map[string][]string{
		"tmpfs": {"mount", "-t", "tmpfs", "-o", "size=640m", "tmpfs"},
		"ext4":  {"mount", "-o", "loop"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk, image := t.TempDir(), filepath.Join(t.TempDir(), "disk")
			if name == "ext4" {
				run(t, "truncate", "-s", "640M", image)
				run(t, "mkfs.ext4", "-qF", image)
				mount = append(mount, image)
			}
			if out, err := exec.Command(mount[0], append(mount[1:], disk)...).CombinedOutput(); err != nil {
				t.Skipf("this machine mounts no %s: %v %s", name, err, out)
			}
			t.Cleanup(func() { run(t, "umount", disk) })
			fillAgain(t, disk, rounds)
		})
	}
}

func run(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v %s", strings.Join(args, " "), err, out)
	}
}

func fillAgain(t *testing.T, disk string, rounds int) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fillInto+"="+filepath.Join(disk, "store"))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var committed, refused atomic.Int64
	ended := make(chan error, 1)
	go func() { // ends with the process
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if lines.Text() == "refused" {
				refused.Add(1)
			} else {
				committed.Add(1)
			}
		}
		ended <- cmd.Wait()
	}()
	defer func() {
		_ = cmd.Process.Kill()
		<-ended
	}()
	until := func(what string, count *atomic.Int64, more int64) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; {
			switch {
			case count.Load() >= more:
				return
			case time.Now().After(deadline):
				t.Fatalf("no more writes were %s", what)
			}
			select {
			case err := <-ended:
				ended <- err
				t.Fatalf("the store died: %v", err)
			case <-time.After(time.Millisecond):
			}
		}
	}
	for range rounds {
		until("committed", &committed, committed.Load()+1000+rand.Int64N(4000))
		ballast := filepath.Join(disk, "ballast")
		if err := fillDisk(ballast); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("filling the disk: %v", err)
		}
		until("refused", &refused, refused.Load()+20)
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		until("committed", &committed, committed.Load()+20)
	}
}

// fillDisk makes a file of all the room that there is, and returns the error
// that said that there is no more.
func fillDisk(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for size := int64(64 << 20); ; {
		end, err := f.Seek(0, 2)
		if err != nil {
			return err
		}
		err = syscall.Fallocate(int(f.Fd()), 0, end, size)
		switch {
		case err == nil:
		case errors.Is(err, syscall.ENOSPC) && size > 4096:
			size /= 2
		default:
			return err
		}
	}
}
