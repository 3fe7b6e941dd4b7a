package imagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Serve starts a registry, or what takes itself for one.
func Serve(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// Until polls for something that another goroutine brings about.
func Until(t testing.TB, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute) // it may wait after the test, too
	defer cancel()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}

// HoldPort returns a TCP address of loopback at which nothing listens, and what holds it:
// nobody else is given it, but one program may listen there, stop, and start again, see
// SO_REUSEADDR in socket(7).
func HoldPort() (address string, held *os.File, err error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return "", nil, os.NewSyscallError("socket", err)
	}
	syscall.CloseOnExec(fd)
	held = os.NewFile(uintptr(fd), "port")
	err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	if err == nil { // not before: then others could have it as well
		err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	}
	at, wrong := syscall.Getsockname(fd)
	if err = errors.Join(err, wrong); err != nil {
		held.Close()
		return "", nil, fmt.Errorf("hold a port: %w", err)
	}
	return fmt.Sprintf("127.0.0.1:%d", at.(*syscall.SockaddrInet4).Port), held, nil
}

// ClosedPort is an address at which nothing listens but what the test has listen there.
func ClosedPort(t testing.TB) string {
	t.Helper()
	address, held, err := HoldPort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { held.Close() })
	return address
}

// RealRegistry starts Debian's docker-registry with further lines of its
// configuration for http and auth, and returns its host and port. The lines may
// end with one for storage, in which DIR is the directory.
func RealRegistry(t testing.TB, dir, http, auth string, storage ...string) (host string) {
	t.Helper()
	bin := Part(t, "docker-registry", "docker-registry")
	host = ClosedPort(t)
	if storage == nil {
		storage = []string{"storage: {filesystem: {rootdirectory: DIR/data}}"}
	}
	config := fmt.Sprintf("version: 0.1\nlog: {level: error}\n%s\nhttp:\n  addr: %q\n%s%s",
		strings.ReplaceAll(storage[0], "DIR", dir), host, http, auth)
	file := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, bin, "serve", file)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		cmd.Wait()
		if t.Failed() {
			t.Logf("docker-registry: %s", &out)
		}
	})
	Until(t, "docker-registry", func() bool {
		c, err := net.Dial("tcp", host)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return host
}

// Part finds a program that a test is about, or skips the test: in CI it fails.
func Part(t testing.TB, program, pkg string) string {
	t.Helper()
	bin, err := exec.LookPath(program)
	if err == nil {
		return bin
	}
	if bin = filepath.Join("/usr/sbin", program); exists(bin) {
		return bin
	}
	return Missing(t, program+" is missing: install the Debian package "+pkg)
}

// Missing skips a test that lacks a real part; in CI it fails.
func Missing(t testing.TB, what string) string {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
