//go:build linux

package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"walt/netboot/boottest"
	"walt/netboot/initrd"
	"walt/netboot/instructions"
)

// bench is a server for one machine, and what a user of that needs.
type bench struct {
	t       *testing.T
	in      instructions.Instructions
	user    ssh.Signer
	host    ssh.PublicKey
	web     *httptest.Server
	files   map[string][]byte // that it has beside the instructions
	silent  chan struct{}     // closed when it begins to answer; nil: it does at once
	reports chan instructions.Report
	orders  chan instructions.Order
	machine *boottest.Machine
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, files: map[string][]byte{}, reports: make(chan instructions.Report, 1000), orders: make(chan instructions.Order)}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	b.host = signer.PublicKey()
	_, private, err = ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if b.user, err = ssh.NewSignerFromKey(private); err != nil {
		t.Fatal(err)
	}
	b.web = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/boot/token" {
			if b.silent != nil {
				select {
				case <-b.silent:
				case <-r.Context().Done():
				}
			}
			b.in.Clock = time.Now()
			json.NewEncoder(w).Encode(b.in)
			return
		}
		from, _ := strconv.Atoi(r.URL.Query().Get("from")) // none is 0
		content, ok := b.files[r.URL.Path]
		if !ok {
			http.Error(w, "nothing of that name", http.StatusNotFound)
			return
		}
		w.Write(content[from:])
	}))
	t.Cleanup(b.web.Close)
	b.in = instructions.Instructions{
		Boot: "boot-1", Digest: "sha256:1", Token: "secret", Server: b.guestAddr(b.listen()), Host: "node-1",
		HostKey: string(pem.EncodeToMemory(block)), Access: instructions.Access{Version: "1", AuthorizedKeys: []string{string(ssh.MarshalAuthorizedKey(b.user.PublicKey()))}},
		ResolvConf: "nameserver 10.0.2.3\n", Hosts: "127.0.0.1 localhost\n10.0.2.15 node-1\n", MachineID: strings.Repeat("a1", 16),
		Seed: []byte(strings.Repeat("random", 6)), Root: instructions.Root{RAM: []string{b.url("/image.tar")}},
	}
	return b
}

// guestAddr is how the machine reaches a listener of the test.
func (b *bench) guestAddr(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		b.t.Fatal(err)
	}
	return net.JoinHostPort(boottest.Server, port)
}

func (b *bench) url(file string) string {
	return "http://" + b.guestAddr(strings.TrimPrefix(b.web.URL, "http://")) + file
}

// listen takes the agent's connections, one after the other.
func (b *bench) listen() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { l.Close() })
	go func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection
				defer conn.Close()
				in := json.NewDecoder(bufio.NewReader(conn))
				gone := make(chan struct{})
				go func() { // ends with the connection
					out := json.NewEncoder(conn)
					for {
						select {
						case o := <-b.orders:
							out.Encode(o)
						case <-gone:
							return
						}
					}
				}()
				defer close(gone)
				for {
					var r instructions.Report
					if in.Decode(&r) != nil {
						return
					}
					b.reports <- r
				}
			}()
		}
	}()
	return l.Addr().String()
}

// start boots the machine, with more options of QEMU.
func (b *bench) start(memory int, options ...string) {
	b.t.Helper()
	dir := boottest.Kernel(b.t)
	tree, err := os.OpenRoot(dir)
	if err != nil {
		b.t.Fatal(err)
	}
	defer tree.Close()
	plan, err := initrd.Inspect([]string{"amd64"}, "", tree.FS(), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	if lacks := plan.Lacks(append(initrd.NFSRoot, initrd.Virtio...)...); len(lacks) > 0 {
		b.t.Fatalf("the kernel lacks %v", lacks)
	}
	var archive bytes.Buffer
	begun := time.Now()
	if _, err := plan.Build(b.t.Context(), &archive, boottest.Agent(b.t)); err != nil {
		b.t.Fatal(err)
	}
	b.t.Logf("initramfs of %d bytes, with building the agent in %v", archive.Len(), time.Since(begun))
	b.machine = boottest.Start(b.t, filepath.Join(dir, plan.Kernel), archive.Bytes(), memory, "walt.boot="+b.url("/boot/token"), options...)
}

// wait waits for a report.
func (b *bench) wait(what string, good func(instructions.Report) bool) instructions.Report {
	b.t.Helper()
	for end := time.After(boottest.Wait); ; {
		select {
		case r := <-b.reports:
			if good(r) {
				return r
			}
		case <-b.machine.Ended:
			b.t.Fatalf("the machine ended before: %s", what)
		case <-end:
			b.t.Fatalf("nothing came: %s", what)
		}
	}
}

func at(s instructions.Step) func(instructions.Report) bool {
	return func(r instructions.Report) bool { return r.Steps[len(r.Steps)-1].Step == s }
}

// dial logs in.
func (b *bench) dial() *ssh.Client {
	b.t.Helper()
	config := &ssh.ClientConfig{User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(b.user)}, HostKeyCallback: ssh.FixedHostKey(b.host), Timeout: boottest.Wait}
	var err error
	for end := time.Now().Add(boottest.Wait); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		var c *ssh.Client
		if c, err = ssh.Dial("tcp", b.machine.SSH, config); err == nil {
			b.t.Cleanup(func() { c.Close() })
			return c
		}
	}
	b.t.Fatalf("SSH does not answer: %v", err)
	return nil
}

// run runs a command on the machine.
func (b *bench) run(c *ssh.Client, command string) (string, error) {
	b.t.Helper()
	s, err := c.NewSession()
	if err != nil {
		b.t.Fatal(err)
	}
	defer s.Close()
	out, err := s.CombinedOutput(command)
	return string(out), err
}

func (b *bench) gone() {
	b.t.Helper()
	select {
	case <-b.machine.Ended:
	case <-time.After(boottest.Wait):
		b.t.Fatal("the machine does not end")
	}
}

func TestMachineBootsIntoMemory(t *testing.T) {
	t.Parallel()
	boottest.Need(t, "busybox")
	b := newBench(t)
	b.in.Rescue = true
	b.in.Init = "/sbin/init"
	b.files["/image.tar"] = boottest.Busybox(t, true, nil)
	b.start(256)

	early := b.dial()
	if out, err := b.run(early, "log"); err != nil || !strings.Contains(out, "stopped before the root") {
		t.Errorf("log: %q, %v", out, err)
	}
	if out, err := b.run(early, "ls /"); err == nil || !strings.Contains(out, "not mounted yet") {
		t.Errorf("a command without a shell: %q, %v", out, err)
	}
	if out, err := b.run(early, "help"); err != nil || !strings.Contains(out, "continue  goes on with the boot") {
		t.Errorf("help: %q, %v", out, err)
	}
	if out, err := b.run(early, "continue"); err != nil {
		t.Errorf("continue: %q, %v", out, err)
	}
	r := b.wait("up", at(instructions.Up))
	if !r.Deaf {
		t.Error("its network card, of virtio, cannot be woken")
	}
	if r.Token != "secret" || r.Boot != "boot-1" || r.Digest != "sha256:1" || len(r.Steps) != 7 || r.Size == 0 {
		t.Errorf("report %+v", r)
	}
	t.Logf("steps %+v", r.Steps)

	c := b.dial()
	for command, want := range map[string]string{
		"hostname; cat /etc/machine-id /etc/resolv.conf": "node-1\n" + b.in.MachineID + "\nnameserver 10.0.2.3\n",
		"id -u; echo $HOME; cat /proc/1/comm":            "0\n/root\ninit\n",
		"cat /proc/self/oom_score_adj; ls /init 2>&1":    "0\nls: /init: No such file or directory\n",
		// The agent is the last that the kernel ends when memory is short.
		"for p in /proc/[0-9]*; do grep -q walt-agent $p/comm && cat $p/oom_score_adj; done; true": "-1000\n",
		"tty": "not a tty\n",
	} {
		if out, err := b.run(c, command); out != want && (err != nil || !strings.HasPrefix(out, want)) {
			t.Errorf("%s: %q, %v", command, out, err)
		}
	}
	_, err := b.run(c, "exit 7")
	if e, ok := err.(*ssh.ExitError); !ok || e.ExitStatus() != 7 {
		t.Errorf("status: %v", err)
	}
	_, err = b.run(c, "kill -9 $$")
	if e, ok := err.(*ssh.ExitError); !ok || e.Signal() != "KILL" {
		t.Errorf("signal: %v", err)
	}
	if out, err := b.run(c, "head -c 3000000 /dev/zero | wc -c; head -c 3000000 /dev/zero"); err != nil || len(out) != 3000008 {
		t.Errorf("%d bytes, %v", len(out), err)
	}
	b.terminal(c)
	b.clock(c, r)
	copyThere(t, c)
	if out, err := b.run(c, "umount -l /proc; ls /proc | wc -l"); out != "0\n" {
		t.Errorf("unmount /proc: %q, %v", out, err)
	}
	if out, err := b.run(c, "echo in"); out != "in\n" {
		t.Errorf("without /proc: %q, %v", out, err)
	}
	if _, err := ssh.Dial("tcp", b.machine.SSH, &ssh.ClientConfig{User: "worker", Auth: []ssh.AuthMethod{ssh.PublicKeys(b.user)}, HostKeyCallback: ssh.FixedHostKey(b.host)}); err == nil {
		t.Error("another user came in")
	}
	b.admits(c)
	b.orders <- instructions.Order{Power: instructions.Reboot}
	b.gone()
}

// terminal has a shell in a terminal, whose background job does not hold it.
func (b *bench) terminal(c *ssh.Client) {
	s, err := c.NewSession()
	if err != nil {
		b.t.Fatal(err)
	}
	defer s.Close()
	if err := s.RequestPty("xterm", 33, 77, ssh.TerminalModes{}); err != nil {
		b.t.Fatal(err)
	}
	in, err := s.StdinPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	var out bytes.Buffer
	s.Stdout = &out
	if err := s.Shell(); err != nil {
		b.t.Fatal(err)
	}
	io.WriteString(in, "stty size; echo $TERM; sleep 1000 & exit 3\n")
	err = s.Wait()
	if e, ok := err.(*ssh.ExitError); !ok || e.ExitStatus() != 3 {
		b.t.Errorf("terminal: %v", err)
	}
	if text := out.String(); !strings.Contains(text, "33 77\r\n") || !strings.Contains(text, "xterm\r\n") {
		b.t.Errorf("terminal: %q", text)
	}
}

// clock has the server set the clock, after a report. It stays so when somebody sets it by
// hand, whatever else the server says.
func (b *bench) clock(c *ssh.Client, r instructions.Report) {
	then := time.Date(2033, 3, 3, 3, 3, 0, 0, time.UTC)
	b.orders <- instructions.Order{Clock: &then, After: r.Uptime}
	for _, wrong := range []string{"", "2001-01-01", "2044-04-04"} {
		if wrong != "" {
			if out, err := b.run(c, "date -u -s '"+wrong+" 00:00:00'"); err != nil {
				b.t.Fatalf("set the clock: %q, %v", out, err)
			}
		}
		for end := time.Now().Add(boottest.Wait); ; time.Sleep(50 * time.Millisecond) {
			out, err := b.run(c, "date -u +%Y-%m-%d")
			if out == "2033-03-03\n" {
				break
			}
			if time.Now().After(end) {
				b.t.Fatalf("clock, set to %q: %q, %v", wrong, out, err)
			}
		}
	}
}

// admits has the server say that another user may log in, too, and then nobody else, and that the
// machine is called otherwise. What the user of the machine writes stays.
func (b *bench) admits(c *ssh.Client) {
	b.t.Helper()
	const keys = "/root/.ssh/authorized_keys"
	if out, err := b.run(c, "ls -ld /root/.ssh "+keys+"; echo '# mine' >> "+keys); err != nil || strings.Count(out, "------") != 2 {
		b.t.Fatalf("%q, %v", out, err)
	}
	ca, mate := newSigner(b.t), newSigner(b.t)
	cert := &ssh.Certificate{Key: b.host, CertType: ssh.HostCert, ValidPrincipals: []string{"bench"}, ValidBefore: ssh.CertTimeInfinity}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		b.t.Fatal(err)
	}
	for _, now := range [][]string{{text(b.user.PublicKey()), text(mate.PublicKey())}, {text(mate.PublicKey())}} {
		version := strconv.Itoa(len(now)) + " keys"
		b.orders <- instructions.Order{Access: &instructions.Access{Version: version, AuthorizedKeys: now, HostCertificate: text(cert)}}
		b.wait("who may log in: "+version, func(r instructions.Report) bool { return r.Access == version })
		trusting := ssh.CertChecker{IsHostAuthority: func(key ssh.PublicKey, _ string) bool { return text(key) == text(ca.PublicKey()) }}
		client, err := ssh.Dial("tcp", b.machine.SSH, &ssh.ClientConfig{
			User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(mate)}, HostKeyAlgorithms: []string{ssh.CertAlgoED25519v01},
			HostKeyCallback: func(_ string, addr net.Addr, key ssh.PublicKey) error {
				return trusting.CheckHostKey("bench:22", addr, key)
			},
		})
		if err != nil {
			b.t.Fatalf("the mate, and the certificate: %v", err)
		}
		want := "# mine\n"
		for end := time.Now().Add(boottest.Wait); ; time.Sleep(50 * time.Millisecond) {
			out, err := b.run(client, "cat "+keys)
			if out == withKeys("", now)+want {
				break
			}
			if time.Now().After(end) {
				b.t.Fatalf("the file: %q, %v", out, err)
			}
		}
		client.Close()
	}
	if _, err := ssh.Dial("tcp", b.machine.SSH, &ssh.ClientConfig{User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(b.user)}, HostKeyCallback: ssh.FixedHostKey(b.host)}); err == nil {
		b.t.Error("a user came in who may not any more")
	}
}

func TestMachineWithoutInit(t *testing.T) {
	t.Parallel()
	boottest.Need(t, "busybox")
	b := newBench(t)
	b.in.Process = &instructions.Process{Args: []string{"work", "an argument"}, Env: []string{"A=b c"}, Dir: "/srv/work", User: "worker"}
	b.files["/image.tar"] = boottest.Busybox(t, false, map[string]string{"bin/work": "#!/bin/sh\necho \"work: $1, $A, $(id -u) $(id -G) in $PWD\"\nsleep 1 &\nexit 5\n"})
	b.start(256, "-device", "vmxnet3,netdev=n0,romfile=,mac="+boottest.MAC)
	r := b.wait("the process ended", func(r instructions.Report) bool { return r.Ended != "" })
	if r.Ended != "work ended with status 5" {
		t.Errorf("ended: %q", r.Ended)
	}
	const listens = "packets wake eth0 when the machine is off"
	if r := b.wait("up", at(instructions.Up)); r.Deaf || strings.Count(b.machine.Console(), listens) != 1 {
		t.Error("its network card can be woken, and was not told to listen, once")
	}
	if !strings.Contains(b.machine.Console(), "work: an argument, b c, 1000 1000 6 in /srv/work") {
		t.Error("the process was not as the image has it")
	}
	c := b.dial()
	if out, err := b.run(c, "cat /proc/1/comm; ps"); err != nil || !strings.HasPrefix(out, stayName+"\n") || strings.Contains(out, "[work]") {
		t.Errorf("processes: %q, %v", out, err)
	}
	if out, err := b.run(c, "poweroff"); err != nil {
		t.Logf("poweroff: %q, %v", out, err) // the connection may end first
	}
	b.gone()
}

func TestBootThatFails(t *testing.T) {
	boottest.NeedLong(t, "busybox")
	b := newBench(t)
	b.in.Init = "/sbin/init"
	whole := boottest.Busybox(t, true, nil)
	copy(whole[len(whole)-2048:], bytes.Repeat([]byte{'x'}, 1024)) // the end is none
	b.files["/image.tar"] = whole
	b.start(256)
	r := b.wait("failed", func(r instructions.Report) bool { return r.Failed != "" })
	if !strings.Contains(r.Failed, "invalid tar header") || r.Steps[len(r.Steps)-1].Step != instructions.Mounts {
		t.Errorf("report %+v", r)
	}
	c := b.dial()
	if out, err := b.run(c, "log"); err != nil || !strings.Contains(out, "the boot ends here") {
		t.Errorf("log: %q, %v", out, err)
	}
	b.orders <- instructions.Order{Power: instructions.Poweroff}
	b.gone()
}

func TestMachineWithNothingButAKernel(t *testing.T) {
	boottest.NeedLong(t)
	b := newBench(t)
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "boot/", Mode: 0o755}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b.files["/image.tar"] = archive.Bytes()
	b.in.Init = "/sbin/init" // which is not there
	b.start(256)
	r := b.wait("up without an init", func(r instructions.Report) bool { return at(instructions.Up)(r) && r.Ended != "" })
	if !strings.Contains(r.Ended, "the image's /sbin/init cannot be run: no such file") {
		t.Errorf("ended: %q", r.Ended)
	}
	c := b.dial()
	if out, err := b.run(c, "ls"); err == nil || !strings.Contains(out, "The image has no shell.") {
		t.Errorf("a command: %q, %v", out, err)
	}
	if out, err := b.run(c, "mounts"); err != nil || !strings.Contains(out, "walt-ram / tmpfs") || strings.Contains(out, "/sysroot") {
		t.Errorf("mounts: %q, %v", out, err)
	}
	copyThere(t, c)
	b.run(c, "reboot") // the connection may end with it
	b.gone()
}

// copyThere copies a file to a machine without an SFTP server of its own, and back.
func copyThere(t testing.TB, c *ssh.Client) {
	t.Helper()
	files, err := sftp.NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	f, err := files.Create("copied")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text := bytes.Repeat([]byte("0123456789"), 10_000)
	if _, err := f.Write(text); err != nil {
		t.Fatal(err)
	}
	back := make([]byte, len(text)+1)
	if n, err := f.ReadAt(back, 0); !errors.Is(err, io.EOF) || !bytes.Equal(back[:n], text) {
		t.Errorf("%d bytes come back: %v", n, err)
	}
}
