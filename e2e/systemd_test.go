package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// systemd listens where a service tells how it is, sd_notify(3).
type systemd struct {
	t      *testing.T
	socket *net.UnixConn
}

func startSystemd(t *testing.T) (s systemd, path string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "walt-notify-") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path = filepath.Join(dir, "s")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	return systemd{t, socket}, path
}

// hears returns what the next message assigns, which must be all of the variables
// and no other.
func (s systemd) hears(variables ...string) map[string]string {
	s.t.Helper()
	told := s.next()
	for _, name := range variables {
		if told[name] == "" {
			s.t.Errorf("%q lacks %s", told, name)
		}
	}
	if len(told) != len(variables) {
		s.t.Errorf("%q, want %v", told, variables)
	}
	return told
}

// next returns what the next message assigns.
func (s systemd) next() map[string]string {
	s.t.Helper()
	s.socket.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 4096)
	n, err := s.socket.Read(b)
	if err != nil {
		s.t.Fatal(err)
	}
	told := map[string]string{}
	for line := range strings.SplitSeq(string(b[:n]), "\n") {
		name, value, _ := strings.Cut(line, "=")
		told[name] = value
	}
	return told
}

// A service of Type=notify-reload tells when it begins to reload, when on the
// monotonic clock, and what came of it, also when that is a mistake.
func TestServiceReload(t *testing.T) {
	t.Parallel()
	l, err := newLab(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { endLab(t, l) })
	s, path := startSystemd(t)
	l.Env = []string{"NOTIFY_SOCKET=" + path}
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	ready := "accepting logins on " + l.Address()
	if told := s.hears("READY", "STATUS", "ERRNO"); told["READY"] != "1" || told["STATUS"] != ready || told["ERRNO"] != "0" {
		t.Errorf("at the start: %v", told)
	}
	good, err := os.ReadFile(l.Config)
	if err != nil {
		t.Fatal(err)
	}
	var last int64
	for _, c := range []struct{ config, status, errno string }{
		{string(good), "^" + regexp.QuoteMeta(ready) + "$", "0"},
		{"listne = 1\ndta = 2\n", `^accepting logins .*; the configuration stays as it was: .*walt\.toml:1: unknown key "listne".*; .*:2: unknown key "dta"`, "22"},
		{string(good), "^" + regexp.QuoteMeta(ready) + "$", "0"},
	} {
		if err := os.WriteFile(l.Config, []byte(c.config), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := l.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		began, err := strconv.ParseInt(s.hears("RELOADING", "MONOTONIC_USEC")["MONOTONIC_USEC"], 10, 64)
		if err != nil || began <= last {
			t.Errorf("began at %d, after %d, %v", began, last, err)
		}
		last = began
		if told := s.hears("READY", "STATUS", "ERRNO"); !regexp.MustCompile(c.status).MatchString(told["STATUS"]) || told["ERRNO"] != c.errno {
			t.Errorf("%v, want %s", told, c.status)
		}
	}
	if err := l.Stop(); err != nil {
		t.Fatal(err)
	}
	s.hears("STOPPING")
}

// A server that is told to read its configuration again while it starts does so when it has
// started. It starts for as long as nobody writes into the pipe that its configuration is.
func TestReloadWhileItStarts(t *testing.T) {
	t.Parallel()
	l, err := newLab(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(l.Config)
	pipe := filepath.Join(t.TempDir(), "walt.toml")
	if err = errors.Join(err, syscall.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
	server := exec.Command(l.Waltd, "serve", "--config", pipe, "--data", l.Data(), "--listen", "127.0.0.1:0")
	log, err := os.Create(l.Log())
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	server.Stderr = log
	out, err := server.StdoutPipe()
	if err == nil {
		err = server.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { // of a server that ended, nothing is left to end
		_ = server.Process.Kill()
		_ = server.Wait()
	}()
	says := bufio.NewReader(out)
	for _, at := range []string{"start", "reload"} {
		var in *os.File
		err := eventually(func() (err error) {
			in, err = os.OpenFile(pipe, os.O_WRONLY|syscall.O_NONBLOCK, 0) // when it is read
			return err
		})
		if err == nil && at == "start" {
			err = server.Process.Signal(syscall.SIGHUP)
		}
		if err != nil {
			t.Fatalf("%s: %v", at, err)
		}
		if _, err := in.Write(config); err != nil {
			t.Fatal(err)
		}
		in.Close()
		if at == "start" {
			if line, err := says.ReadString('\n'); err != nil {
				t.Fatalf("it says %q, %v", line, err)
			}
		}
	}
	err = eventually(func() error {
		told, err := os.ReadFile(l.Log())
		if err == nil && !strings.Contains(string(told), "level=INFO msg=\"configuration read;") {
			err = fmt.Errorf("its log:\n%s", told)
		}
		return err
	})
	if err := errors.Join(err, server.Process.Signal(syscall.SIGTERM), server.Wait()); err != nil {
		t.Error(err)
	}
}

// A server with which nobody can manage users says so, and how to.
func TestNobodyAdministers(t *testing.T) {
	t.Parallel()
	l, err := newLab(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { endLab(t, l) })
	const warning = "nobody can log in as an administrator: start the server with --admin NAME=PUBKEYFILE"
	warned := func() int {
		log, err := os.ReadFile(l.Log())
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(log), warning)
	}
	key, err := os.ReadFile(l.Key("admin") + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	if warned() > 0 {
		t.Error("warned though there is an administrator")
	}
	if err := l.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.Key("admin")+".pub", append([]byte(`expiry-time="20200101" `), key...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	if warned() != 1 {
		t.Errorf("warned %d times of an expired key", warned())
	}
	if err := l.Stop(); err != nil {
		t.Fatal(err)
	}
}

// What keeps boards and PCs from booting is told by systemd, and with the devices.
func TestServiceWithoutItsNetwork(t *testing.T) {
	t.Parallel()
	l, err := newLab(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { endLab(t, l) })
	config, err := os.ReadFile(l.Config)
	if err == nil {
		err = os.WriteFile(l.Config, append(config, "\n[network]\ninterface = \"nothing0\"\n"...), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	s, path := startSystemd(t)
	l.Env = []string{"NOTIFY_SOCKET=" + path}
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	const why = "boards and PCs cannot boot from here: there is no network interface nothing0"
	for { // it may be ready before it has tried
		told := s.next()
		if strings.Contains(told["STATUS"], "; "+why) {
			break
		}
	}
	if err := l.Add("", "alice"); err != nil {
		t.Fatal(err)
	}
	if got, err := l.SSH("alice", nil, "device", "show").CombinedOutput(); err != nil || !strings.Contains(string(got), "Network: "+why) {
		t.Errorf("device show tells %s, %v", got, err)
	}
}
