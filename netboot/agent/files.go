//go:build linux

package main

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"walt/netboot/instructions"
)

// writeFiles writes what makes an image this node, in the root of its thread. One that
// cannot be written is noted: the machine may come up without it.
func writeFiles(i *instructions.Instructions, iface net.Interface, log *record) {
	note := func(what string, err error) {
		if err != nil {
			log.logf("%s: %v", what, err)
		}
	}
	for name, text := range map[string]string{
		"/etc/hostname":    line(i.Host),
		"/etc/machine-id":  line(i.MachineID),
		"/etc/resolv.conf": i.ResolvConf,
		"/etc/hosts":       i.Hosts,
	} {
		if text != "" {
			note(name, replace(name, []byte(text), 0o644))
		}
	}
	note("host key", writeHostKey(i.HostKey))
	note("root's account", openAccount("/etc/shadow"))
	for _, c := range i.Capabilities {
		note("capabilities of "+c.Path, unix.Setxattr(c.Path, "security.capability", c.Value, 0))
	}
	note("ifupdown", leaveToUs(iface.Name))
	if i.Permissive {
		note("SELinux", permissive())
		log.logf("SELinux does not enforce: over NFS files have no labels")
	}
}

func line(word string) string {
	if word == "" {
		return ""
	}
	return word + "\n"
}

// replace writes a file in place of what has its name, be it a symbolic link.
func replace(name string, content []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Chmod(mode), f.Close())
}

// ownHostKey is where OpenSSH's server finds the node's key in any case: images that make
// host keys when they boot, as cloud-init does, remove those that are called as usual.
const ownHostKey = "/etc/ssh/walt_ed25519_key"

// writeHostKey makes the node's key the only one of OpenSSH and dropbear. Keys that an
// image holds are known to all who have the image.
func writeHostKey(text string) error {
	key, err := ssh.ParseRawPrivateKey([]byte(text))
	if err != nil {
		return err
	}
	private, public, err := ed25519Of(key)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return err
	}
	for _, pattern := range []string{"/etc/ssh/ssh_host_*_key", "/etc/ssh/ssh_host_*_key.pub", "/etc/dropbear/dropbear_*_host_key"} {
		old, _ := filepath.Glob(pattern) // the patterns are right
		for _, name := range old {
			os.Remove(name) // one that stays is offered, too
		}
	}
	const openssh, dropbear = "/etc/ssh/ssh_host_ed25519_key", "/etc/dropbear/dropbear_ed25519_host_key"
	return errors.Join(
		replace(ownHostKey, pem.EncodeToMemory(block), 0o600),
		showHostKey("/etc/ssh/sshd_config"),
		showHostKey("/usr/etc/ssh/sshd_config"), // of openSUSE
		replace(openssh, pem.EncodeToMemory(block), 0o600),
		replace(openssh+".pub", ssh.MarshalAuthorizedKey(public), 0o644),
		replace(dropbear, dropbearKey(private), 0o600),
	)
}

// showHostKey has OpenSSH's server show the node's key, and its certificate. It shows the first of several of
// a kind, and those with the usual names only if none is configured; see sshd_config(5).
func showHostKey(config string) error {
	info, err := os.Stat(config)
	if err != nil {
		return nil // there is no server, or it does not read this
	}
	text, err := readSmall(config)
	if err != nil {
		return err
	}
	return replace(config, append([]byte("HostKey "+ownHostKey+"\nHostCertificate "+hostCertificate+"\n"), text...), info.Mode().Perm())
}

// leaveToUs has ifupdown leave interfaces alone that could be the one that the root
// comes over, under the name that it has now or one that udev may give it.
func leaveToUs(iface string) error {
	names := []string{"/etc/network/interfaces"}
	for i := 0; i < len(names) && i < 1000; i++ { // it grows
		b, err := readSmall(names[i])
		if err != nil {
			continue // there is no ifupdown
		}
		for _, pattern := range sourced(string(b), path.Dir(names[i])) {
			more, _ := filepath.Glob(pattern) // what is no pattern names no file
			names = append(names, slices.DeleteFunc(more, func(name string) bool { return slices.Contains(names, name) })...)
		}
		if text := withoutUplink(string(b), iface); text != string(b) {
			if err := replace(names[i], []byte(text), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// permissive has SELinux report and not refuse.
func permissive() error {
	const name = "/etc/selinux/config"
	b, err := readSmall(name)
	if err != nil {
		return err
	}
	var text strings.Builder
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "SELINUX=") {
			line = "SELINUX=permissive\n"
		}
		text.WriteString(line)
	}
	return replace(name, []byte(text.String()), 0o644)
}

// writeRun writes what managers of networks and mounts read in /run before they
// start. They would leave an interface under a network root alone, but what they see is
// an overlay. udev leaves it the name and the address that it has, whatever the image has
// for all: it could not rename what is up, and networkd would wait for that. Of the two ways to tell NetworkManager one holds when somebody asks it for
// a connection, the other one also where /etc has a list of its own; see
// NetworkManager.conf(5).
func writeRun(p params, iface net.Interface, nfs bool) error {
	mac := iface.HardwareAddr.String()
	network := fmt.Sprintf("[Match]\nMACAddress=%s\n\n[Network]\nKeepConfiguration=yes\nDHCP=no\nLLDP=no\nAddress=%s\n", mac, p.addr)
	if p.gw.IsValid() {
		network += fmt.Sprintf("Gateway=%s\n", p.gw)
	}
	link := fmt.Sprintf("[Match]\nMACAddress=%s\n\n[Link]\nNamePolicy=keep\nAlternativeNamesPolicy=database onboard slot path\n", mac)
	utab := ""
	if nfs {
		utab = "SRC=walt TARGET=/ ROOT=/ OPTS=_netdev\n"
	}
	return errors.Join(
		replace("/run/systemd/network/0-walt.network", []byte(network), 0o644),
		replace("/run/systemd/network/0-walt.link", []byte(link), 0o644),
		replace("/run/NetworkManager/conf.d/00-walt.conf", fmt.Appendf(nil, "[keyfile]\nunmanaged-devices+=mac:%s\n\n[device-walt]\nmatch-device=mac:%[1]s\nmanaged=0\n", mac), 0o644),
		replace("/run/mount/utab", []byte(utab), 0o644),
	)
}
