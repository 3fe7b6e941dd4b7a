package hostkeys

import (
	"bytes"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"

	"walt/fault"
)

// loadInto makes the test binary a server that loads its keys from this
// directory and prints them.
const loadInto = "WALT_TEST_LOAD_INTO"

func TestMain(m *testing.M) {
	if dir := os.Getenv(loadInto); dir != "" {
		signers, err := Load(dir, false)
		if err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		os.Stdout.Write(ssh.MarshalAuthorizedKey(signers[0].PublicKey()))
		return
	}
	os.Exit(m.Run())
}

func TestLoad(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys")
	first, err := Load(dir, false)
	if err != nil || len(first) != 1 || first[0].PublicKey().Type() != ssh.KeyAlgoED25519 {
		t.Fatalf("first start: %v, %v", first, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "ssh_host_rsa_key")); err == nil {
		t.Error("an RSA key was made that nobody asked for")
	}
	both, err := Load(dir, true)
	if err != nil || len(both) != 2 {
		t.Fatalf("with RSA: %v, %v", both, err)
	}
	if !same(first[0], both[0]) {
		t.Error("the key changed")
	}
	if out, err := exec.Command("ssh-keygen", "-lf", filepath.Join(dir, "ssh_host_rsa_key")).CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "3072 ") {
		t.Errorf("ssh-keygen says of the RSA key: %s, %v", out, err)
	}
	client, err := ForNodes(dir)
	if err != nil || same(client, first[0]) {
		t.Errorf("the key for nodes: %v, %v", client, err)
	}
	again, err := ForNodes(dir)
	if err != nil || !same(client, again) {
		t.Errorf("the key for nodes changed: %v", err)
	}
	ca, replaces, err := ForHosts(dir)
	if err != nil || !replaces || same(ca, client) || same(ca, first[0]) {
		t.Errorf("the key for hosts: %v, %v, %v", ca, replaces, err)
	}
	if again, replaces, err := ForHosts(dir); err != nil || replaces || !same(ca, again) {
		t.Errorf("the key for hosts changed: %v, %v", replaces, err)
	}
	if _, replaces, err := ForHosts(t.TempDir()); err != nil || replaces {
		t.Errorf("the key for hosts of a new lab: %v, %v", replaces, err)
	}

	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 4 {
		t.Errorf("the directory has %v, %v", files, err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", f.Name(), info.Mode(), err)
		}
		out, err := exec.Command("ssh-keygen", "-y", "-f", filepath.Join(dir, f.Name())).CombinedOutput()
		if err != nil {
			t.Errorf("ssh-keygen does not read %s: %s", f.Name(), out)
		}
	}
}

// TestRace starts servers at once on an empty directory: all of them, and later
// ones, have the same key.
func TestRace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var servers []*exec.Cmd
	var outputs [8]bytes.Buffer
	for i := range outputs {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), loadInto+"="+dir)
		cmd.Stdout, cmd.Stderr = &outputs[i], os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		servers = append(servers, cmd)
	}
	for _, cmd := range servers {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	signers, err := Load(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	want := ssh.MarshalAuthorizedKey(signers[0].PublicKey())
	for i := range outputs {
		if got := outputs[i].Bytes(); !bytes.Equal(got, want) {
			t.Errorf("server %d has %q, want %q", i, got, want)
		}
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	other, err := rsaKey.make()
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(other, "")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		spoil func(path string, content []byte) error
		hint  string
	}{
		"group can read": {func(path string, _ []byte) error { return os.Chmod(path, 0o640) }, "chmod 600 "},
		"all can read":   {func(path string, _ []byte) error { return os.Chmod(path, 0o604) }, "chmod 600 "},
		"empty":          {func(path string, _ []byte) error { return os.Truncate(path, 0) }, "backup"},
		"cut":            {func(path string, c []byte) error { return os.Truncate(path, int64(len(c)/2)) }, "backup"},
		"a directory": {func(path string, _ []byte) error {
			return errors.Join(os.Remove(path), os.Mkdir(path, 0o755))
		}, "move it away"},
		"a pipe": {func(path string, _ []byte) error {
			return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600))
		}, "move it away"},
		"a device": {func(path string, _ []byte) error {
			return errors.Join(os.Remove(path), os.Symlink("/dev/zero", path))
		}, "move it away"},
		"a link to nothing": {func(path string, _ []byte) error {
			return errors.Join(os.Remove(path), os.Symlink("nothing", path))
		}, "move it away"},
		"of another type": {func(path string, _ []byte) error {
			return os.WriteFile(path, pem.EncodeToMemory(block), 0o600)
		}, "backup"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if _, err := Load(dir, false); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "ssh_host_ed25519_key")
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.spoil(path, content); err != nil {
				t.Fatal(err)
			}
			spoilt, _ := os.Lstat(path)
			_, err = Load(dir, false)
			for _, err := range []error{err, Check(dir, true)} {
				f := fault.As(err)
				if f == nil || f.Kind != fault.Failed || !strings.Contains(f.Msg, path) || !strings.Contains(f.Hint, c.hint) {
					t.Errorf("got %#v (%v), want a fault that names %s and hints at %q", f, err, path, c.hint)
				}
			}
			if after, err := os.Lstat(path); err != nil || !os.SameFile(spoilt, after) || !after.ModTime().Equal(spoilt.ModTime()) {
				t.Error("the key was overwritten")
			}
		})
	}
	others := t.TempDir()
	if err := os.WriteFile(filepath.Join(others, hostCA), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Check(others, false); fault.As(err) == nil {
		t.Errorf("an empty key for hosts: %v", err)
	}
	empty := t.TempDir()
	if err := Check(empty, true); err != nil {
		t.Errorf("keys that will be made: %v", err)
	}
	if files, _ := os.ReadDir(empty); len(files) > 0 {
		t.Errorf("Check made %v", files)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file, false); fault.As(err) == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a directory that is a file: %v", err)
	}
}

// TestEveryDamagedByte changes one character of a key file after the other: the
// key is refused, or it is what it was.
func TestEveryDamagedByte(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	whole, err := Load(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "ssh_host_ed25519_key")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for i := range content {
		damaged := bytes.Clone(content)
		if damaged[i]++; i%2 == 0 {
			damaged[i] = 'A'
		}
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		keys, err := Load(dir, false)
		switch {
		case fault.As(err) != nil:
			refused++
		case err != nil || !same(keys[0], whole[0]) || try(keys[0]) != nil:
			t.Errorf("byte %d changed: %v, another key", i, err)
		}
	}
	if refused < len(content)/2 {
		t.Errorf("only %d of %d damaged keys were refused", refused, len(content))
	}
}

func same(a, b ssh.Signer) bool {
	return bytes.Equal(a.PublicKey().Marshal(), b.PublicKey().Marshal())
}
