// Package hostkeys keeps the server's own private keys: those that it shows to
// its clients, and the one that the lab's nodes trust. Keys of users are not
// its business. Its one surprising rule: a key that is there but cannot be used
// (damaged, or readable by others) is an error and is never replaced, because
// clients remember it.
package hostkeys

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"

	"walt/fault"
)

// kind is what a key file must hold.
type kind struct {
	algorithm string // as ssh.PublicKey.Type names it
	make      func() (crypto.PrivateKey, error)
}

var (
	ed25519Key = kind{ssh.KeyAlgoED25519, func() (crypto.PrivateKey, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}}
	rsaKey = kind{ssh.KeyAlgoRSA, func() (crypto.PrivateKey, error) {
		return rsa.GenerateKey(rand.Reader, 3072)
	}}
)

// Load returns the host keys in the directory, Ed25519 first, and makes those
// that are missing. With rsa there is an RSA key of 3072 bits besides, for old
// clients. A key that others can read, or that is damaged, is a fault that says
// what to do.
func Load(dir string, rsa bool) ([]ssh.Signer, error) {
	key, err := load(filepath.Join(dir, "ssh_host_ed25519_key"), ed25519Key)
	if err != nil {
		return nil, err
	}
	if !rsa {
		return []ssh.Signer{key}, nil
	}
	old, err := load(filepath.Join(dir, "ssh_host_rsa_key"), rsaKey)
	if err != nil {
		return nil, err
	}
	return []ssh.Signer{key, old}, nil
}

// ForNodes returns the key with which the lab logs in to its nodes, as Load does.
func ForNodes(dir string) (ssh.Signer, error) {
	return load(filepath.Join(dir, "lab_ed25519_key"), ed25519Key)
}

// ForHosts returns the key that signs the host keys of nodes, as Load does. Clients that
// trust it know all nodes, also those to come. It replaces another one when the directory
// has keys already, and not this one: who trusts the one before knows no nodes by it.
func ForHosts(dir string) (key ssh.Signer, replaces bool, err error) {
	path := filepath.Join(dir, hostCA)
	_, there := os.Lstat(path)
	others, _ := os.ReadDir(dir)
	key, err = load(path, ed25519Key)
	return key, errors.Is(there, fs.ErrNotExist) && len(others) > 0, err
}

const hostCA = "host_ca_ed25519_key"

// Check looks for keys in the directory that Load, ForNodes or ForHosts would refuse, and
// changes nothing. Those that are missing will be made.
func Check(dir string, rsa bool) error {
	keys := map[string]kind{"ssh_host_ed25519_key": ed25519Key, "lab_ed25519_key": ed25519Key, hostCA: ed25519Key}
	if rsa {
		keys["ssh_host_rsa_key"] = rsaKey
	}
	var errs []error
	for name, k := range keys {
		path := filepath.Join(dir, name)
		content, err := read(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		_, err = use(path, k, content, err)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func load(path string, k kind) (ssh.Signer, error) {
	content, err := read(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := create(path, k); err != nil {
			return nil, fault.Failedf("cannot make the key %s: %v", path, err)
		}
		content, err = read(path)
	}
	return use(path, k, content, err)
}

// replace is what to do about a key that cannot be used.
const replace = "put it back from a backup; or move it away,\nthen a new one is made, which everybody who knows the old one must accept"

// use makes a key of what read returned.
func use(path string, k kind, content []byte, err error) (ssh.Signer, error) {
	if fault.As(err) != nil {
		return nil, err
	}
	if err != nil {
		return nil, fault.Failedf("cannot read the key %s: %v", path, err).WithHint("%s", replace)
	}
	signer, err := ssh.ParsePrivateKey(content)
	if err == nil && signer.PublicKey().Type() != k.algorithm {
		err = fmt.Errorf("it is of type %s, not %s", signer.PublicKey().Type(), k.algorithm)
	}
	if err == nil {
		err = try(signer)
	}
	if err != nil {
		return nil, fault.Failedf("the key %s cannot be used: %v", path, err).
			WithHint("%s", replace)
	}
	return signer, nil
}

// try signs and verifies: a damaged key may be read without an error, and no
// client would accept what it signs.
func try(key ssh.Signer) error {
	text := []byte("walt")
	signature, err := key.Sign(rand.Reader, text)
	if err == nil {
		err = key.PublicKey().Verify(text, signature)
	}
	if err != nil {
		return fmt.Errorf("it is damaged: %w", err)
	}
	return nil
}

// read refuses a key that others than its owner can read or write, and what is no
// file: to open a pipe would wait for somebody who writes into it.
func read(path string) ([]byte, error) {
	info, err := os.Lstat(path) // first: another server may make the key at this moment
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if info, err = os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, fault.Failedf("the key %s cannot be used: it is a symbolic link to what does not exist", path).WithHint("%s", replace)
		}
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fault.Failedf("the key %s cannot be used: it is %s, not a file", path, what(info.Mode())).WithHint("%s", replace)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fault.Failedf("others can read the private key %s (mode %04o)", path, mode).
			WithHint("run: chmod 600 %s\nif others may have read it, move it away instead: then a new one is made", path)
	}
	return os.ReadFile(path)
}

// what is a word for what is no regular file.
func what(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}

// create makes a key in a temporary file and then gives that its name, unless
// another process was faster: then that one's key stays.
func create(path string, k kind) error {
	key, err := k.make()
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(key, "walt")
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	err = pem.Encode(temp, block)
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	names, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(names.Sync(), names.Close())
}
