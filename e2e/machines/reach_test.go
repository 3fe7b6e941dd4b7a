package machines

import (
	"bytes"
	"crypto/rand"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"walt/images/imagetest"
	"walt/netboot/boottest"
)

// programs has the rsync and the Python of this computer, with the libraries that these use.
func programs(t *testing.T) v1.Layer {
	t.Helper()
	var out, said bytes.Buffer
	c := exec.Command("sh", "-c", `set -e
python=$(/usr/bin/python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
programs="$(command -v rsync) /usr/bin/python3"
libraries=$(ldd $programs "$python"/lib-dynload/*.so | sed -n 's/.*[ \t]\(\/[^ ]*\) (.*/\1/p' | sort -u)
tar -C / -h --exclude=test --exclude='config-*' -c $libraries $programs "$python"`)
	c.Stdout, c.Stderr = &out, &said
	if err := c.Run(); err != nil {
		t.Fatalf("%v: %s", err, &said)
	}
	return plain(out.Bytes())
}

// runs runs a program that uses ssh as a user does, and returns what it prints.
func (s tools) runs(user, program string, args ...string) (string, error) {
	s.t.Helper()
	if program == "ssh" {
		args = append([]string{"-F", s.config(user)}, args...)
	}
	c := exec.Command(program, args...)
	c.Env = append(os.Environ(), "RSYNC_RSH=ssh -F "+s.config(user), "ANSIBLE_SSH_ARGS=-F "+s.config(user),
		"ANSIBLE_HOME="+filepath.Join(s.dir, "ansible"), "ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3")
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := s.Finish(c)
	return out.String(), err
}

func (s tools) mustRun(user, program string, args ...string) string {
	s.t.Helper()
	out, err := s.runs(user, program, args...)
	if err != nil {
		s.t.Fatalf("%s: %s %q: %v: %s", user, program, args, err, out)
	}
	return out
}

// What users have on their computers reaches a machine as the server says how: ssh, over a
// connection that is kept, curl through -L, rsync, ansible; nothing of it does when the
// machine is somebody else's.
func TestOwnTools(t *testing.T) {
	t.Parallel()
	boottest.Need(t, "rsync", "ansible", "curl")
	w := newWorld(t, map[string]map[string]string{"waltplatform/pc-x86-64-default": {}})
	page := make([]byte, 4<<20)
	_, _ = rand.Read(page)
	imagetest.Push(t, w.registry, "alice/tools:latest", imagetest.Image(t, []v1.Layer{
		plain(boottest.Busybox(t, false, map[string]string{"www/page": string(page)})), layerOf(t, boottest.SmallKernel(t)), programs(t),
	}, "walt.node.models", "pc-x86-64"))
	w.does("alice", "image clone lab:alice/tools")
	w.does("alice", "node create vm1 --model pc-x86-64")
	w.does("alice", "node boot vm1 tools")
	s := w.newTools("alice", "bob")
	s.known(true)
	w.up("alice", "vm1")

	// One connection for all that is typed.
	kept := []string{"-o", "ControlMaster=auto", "-o", "ControlPersist=yes", "-o", "ControlPath=" + filepath.Join(w.Dir, "kept"), "vm1"}
	for range 2 {
		if out := s.mustRun("alice", "ssh", append(kept, "hostname")...); out != "vm1\n" {
			t.Errorf("ssh vm1 hostname: %q", out)
		}
	}
	s.mustRun("alice", "ssh", append([]string{"-O", "check"}, kept...)...)

	// A page of a web server there.
	s.mustRun("alice", "ssh", append(kept, "busybox httpd -p 8080 -h /www")...)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.Addr().String()
	free.Close()
	way := exec.Command("ssh", "-F", s.config("alice"), "-N", "-o", "ExitOnForwardFailure=yes", "-L", at+":vm1:8080", "lab")
	var said bytes.Buffer
	way.Stderr = &said
	if err := way.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = way.Process.Kill()
		_ = way.Wait()
	}()
	file := filepath.Join(s.dir, "page")
	s.mustRun("alice", "curl", "-sSf", "--retry-connrefused", "--retry", "100", "--retry-delay", "1", "-o", file, "http://"+at+"/page")
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, page) {
		t.Errorf("the page has %d bytes, and others: %v", len(got), err)
	}

	// Files there and back, and a module of ansible.
	dir := filepath.Join(s.dir, "files")
	if err := os.MkdirAll(filepath.Join(dir, "deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "deep", "page"), page, 0o640); err != nil {
		t.Fatal(err)
	}
	s.mustRun("alice", "rsync", "-a", dir+"/", "vm1:/root/files/")
	if out := s.mustRun("alice", "rsync", "-ani", "--checksum", dir+"/", "vm1:/root/files/"); out != "" {
		t.Errorf("rsync finds differences: %s", out)
	}
	if out := s.mustRun("alice", "ansible", "-i", "vm1,", "all", "-m", "ping"); !strings.Contains(out, `"ping": "pong"`) {
		t.Errorf("ansible: %s", out)
	}

	// It is somebody else's now: what is open ends, and what begins is refused with the reason.
	w.does("bob", "node ask vm1")
	w.does("alice", "node give vm1 bob --no-reboot")
	for end := time.Now().Add(boottest.Wait); ; time.Sleep(100 * time.Millisecond) {
		if _, err := s.runs("alice", "ssh", append([]string{"-O", "check"}, kept...)...); err != nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the connection that is kept stays")
		}
	}
	const whose = "vm1 is owned by bob"
	for program, args := range map[string][]string{
		"ssh": {"vm1", "hostname"}, "rsync": {"-a", "vm1:/root/files/", dir + "/"}, "ansible": {"-i", "vm1,", "all", "-m", "ping"},
	} {
		if out, err := s.runs("alice", program, args...); err == nil || !strings.Contains(out, whose) {
			t.Errorf("%s of a node of bob: %v: %s", program, err, out)
		}
	}
	if out, err := s.runs("alice", "curl", "-sS", "http://"+at+"/page"); err == nil {
		t.Errorf("curl gets a page of a node of bob: %.100s", out)
	}
	_ = way.Process.Kill()
	_ = way.Wait()
	if !strings.Contains(said.String(), whose) {
		t.Errorf("ssh -L says %s", &said)
	}
}
