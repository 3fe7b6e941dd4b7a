package imagetest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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

// ClosedPort is an address on which nothing listens.
func ClosedPort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
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
