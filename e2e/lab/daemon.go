package lab

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Daemon is a docker daemon, dockerd or podman's service, on a socket of its
// own. It needs root.
type Daemon struct {
	dir     string
	program string
	process *exec.Cmd
}

// NewDaemon prepares a daemon of the program, "dockerd" or "podman", whose files
// are in dir. Nothing runs yet.
func NewDaemon(dir, program string) (*Daemon, error) {
	d := &Daemon{dir: filepath.Join(dir, program), program: program}
	return d, os.MkdirAll(d.dir, 0o755)
}

// Host is the address of the daemon, whether it runs or not.
func (d *Daemon) Host() string { return "unix://" + d.socket() }

// socket is short: the path of a socket has a limit of 108 bytes.
func (d *Daemon) socket() string { return filepath.Join(d.dir, "s") }

// Start starts the daemon and returns when it answers.
func (d *Daemon) Start() error {
	if d.process != nil {
		return errors.New("the daemon runs already")
	}
	in := func(name string) string { return filepath.Join(d.dir, name) }
	args := []string{
		"--iptables=false", "--ip6tables=false", "--bridge=none", "--ip-forward=false", "--storage-driver=vfs",
		"-H", d.Host(), "--data-root", in("root"), "--exec-root", in("run"), "--pidfile", in("pid"),
	}
	if d.program == "podman" {
		args = []string{
			"--root", in("root"), "--runroot", in("run"), "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs",
			"system", "service", "-t", "0", d.Host(),
		}
	}
	var log bytes.Buffer
	d.process = exec.Command(d.program, args...)
	d.process.Stderr = &log
	if err := d.process.Start(); err != nil {
		d.process = nil
		return err
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("unix", d.socket()); err == nil {
			return c.Close()
		}
	}
	err := d.Stop()
	return errors.Join(fmt.Errorf("%s does not answer:\n%s", d.program, log.Bytes()), err)
}

// Stop ends the daemon; its images stay.
func (d *Daemon) Stop() error {
	if d.process == nil {
		return nil
	}
	err := d.process.Process.Signal(os.Interrupt)
	end := time.AfterFunc(10*time.Second, func() { d.process.Process.Kill() })
	d.process.Wait()
	end.Stop()
	d.process = nil
	os.Remove(d.socket())
	return err
}

// Import makes an image of one file, /etc/image, for nodes of the models.
func (d *Daemon) Import(name string, models []string) error {
	content, err := archive([]string{"etc/", "", "etc/image", name + "\n"})
	if err != nil {
		return err
	}
	load := exec.Command("docker", "-H", d.Host(), "import", "--change", "LABEL walt.node.models="+strings.Join(models, ","), "-", name)
	load.Stdin = bytes.NewReader(content)
	if out, err := load.CombinedOutput(); err != nil {
		return fmt.Errorf("import %s: %w\n%s", name, err, out)
	}
	return nil
}

// Save packs images of the daemon into an archive: with docker's client for the format
// "docker", else with podman's.
func (d *Daemon) Save(file, format string, images ...string) error {
	save := exec.Command("docker", append([]string{"-H", d.Host(), "save", "-o", file}, images...)...)
	if format != "docker" {
		save = exec.Command("podman", append([]string{"--url", d.Host(), "save", "--format", format, "-o", file}, images...)...)
	}
	if out, err := save.CombinedOutput(); err != nil {
		return fmt.Errorf("save %v: %w\n%s", images, err, out)
	}
	return nil
}
