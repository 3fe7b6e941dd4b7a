// Package snmptest runs net-snmp's agent, as that of a switch or a PDU, for tests. What it answers
// is told to it as in snmpd.conf(5).
package snmptest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// access is who may do what with each agent.
const access = `
rocommunity public 127.0.0.0/8
rwcommunity private 127.0.0.0/8
createUser walt SHA-256 authpass1 AES privpass1
rwuser walt priv
`

// Agent is one, which the community "public" may read, and "private" write; so may the user "walt" of
// version 3, with SHA-256 and AES, and the passwords authpass1 and privpass1. It keeps its address
// when it is stopped and started again; what was written to it is lost then.
type Agent struct {
	Address string
	Config  string   // its lines of snmpd.conf, besides those for the address and who may do what
	Env     []string // of its process, as in NAME=value, besides those of this one
	Dir     string   // of its files
	process *exec.Cmd
}

// errMissing says what the machine lacks.
var errMissing = errors.New("install the Debian packages snmpd and snmp")

// New prepares an agent whose files are in dir, an existing folder.
func New(dir string) (*Agent, error) {
	for _, name := range []string{"snmpd", "snmpget"} {
		if _, err := program(name); err != nil {
			return nil, fmt.Errorf("%w: %w", errMissing, err)
		}
	}
	// Nobody takes the port meanwhile, of a loopback address that is its own.
	own := net.IPv4(127, byte(1+rand.IntN(254)), byte(rand.IntN(256)), byte(1+rand.IntN(254)))
	free, err := net.ListenPacket("udp4", own.String()+":0")
	if err != nil {
		return nil, err
	}
	return &Agent{Address: free.LocalAddr().String(), Dir: dir}, free.Close()
}

// Run runs an agent with this configuration until the test ends.
func Run(t testing.TB, config string, env ...string) *Agent {
	t.Helper()
	a, err := New(t.TempDir())
	if errors.Is(err, errMissing) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err == nil {
		a.Config, a.Env = config, env
		err = a.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Stop() })
	return a
}

// program finds a program, also where Debian has it, outside of the PATH of users.
func program(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return exec.LookPath("/usr/sbin/" + name)
	}
	return path, nil
}

// command is one of net-snmp.
func (a *Agent) command(name string, args ...string) *exec.Cmd {
	path, err := program(name)
	if err != nil {
		path = name // New found it
	}
	c := exec.Command(path, args...)
	c.Env = append(append(os.Environ(), "MIBS=", "SNMP_PERSISTENT_DIR="+filepath.Join(a.Dir, "persistent")), a.Env...)
	return c
}

// Start starts the agent, and returns when it answers.
func (a *Agent) Start() error {
	if a.process != nil {
		return errors.New("the agent runs already")
	}
	config := filepath.Join(a.Dir, "snmpd.conf")
	if err := os.WriteFile(config, []byte("agentAddress udp:"+a.Address+access+a.Config), 0o600); err != nil {
		return err
	}
	process := a.command("snmpd", "-f", "-Lo", "-C", "-c", config, "-I", "-smux")
	out, err := process.StdoutPipe()
	if err != nil {
		return err
	}
	if err := process.Start(); err != nil {
		return err
	}
	a.process = process
	said := ""
	for lines := bufio.NewScanner(out); lines.Scan(); said += lines.Text() + "\n" {
		if strings.HasPrefix(lines.Text(), "NET-SNMP version") {
			go io.Copy(io.Discard, out) // ends with the agent
			return nil
		}
	}
	return errors.Join(fmt.Errorf("snmpd does not start: %s", said), a.Stop())
}

// Signal sends a signal to the agent, which runs.
func (a *Agent) Signal(s os.Signal) error { return a.process.Process.Signal(s) }

// Stop ends the agent, if it runs.
func (a *Agent) Stop() error {
	if a.process == nil {
		return nil
	}
	err := a.process.Process.Kill()
	_ = a.process.Wait() // which tells that it was killed
	a.process = nil
	return err
}

// Get asks net-snmp's own client for a value.
func (a *Agent) Get(oid string) (string, error) {
	out, err := a.command("snmpget", "-v2c", "-c", "public", "-Oqv", a.Address, oid).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("snmpget: %w: %s", err, out)
	}
	return strings.TrimSpace(string(out)), nil
}
