// Package instructions is what the server and the machines that boot from it say to
// each other: the instructions for one boot, a JSON document that a machine gets with
// one GET, and the lines of JSON on the connection that its agent then holds. It is
// words alone: netboot/agent does what they say.
package instructions

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"
)

// Parameters of the kernel's command line, all of which begin so. They are all that a
// machine knows before it has its instructions.
const (
	ParamMAC  = "walt.mac"  // of the interface that it boots over
	ParamIP   = "walt.ip"   // its address there, as 10.0.0.7/24
	ParamGW   = "walt.gw"   // the gateway, none without it
	ParamBoot = "walt.boot" // the URL of the instructions: http, with the token of this boot in it
)

// Instructions are for one boot of one machine. They hold secrets.
type Instructions struct {
	Boot   string `json:"boot"`   // names this boot; the agent tells it
	Digest string `json:"digest"` // of the image; the agent tells it
	Server string `json:"server"` // host:port that the agent connects to; none: it does not
	Token  string `json:"token"`  // that the agent shows there

	Access
	Host       string    `json:"host"`        // host name
	HostKey    string    `json:"host_key"`    // private Ed25519 key for SSH, in PEM
	ResolvConf string    `json:"resolv_conf"` // content of the file; empty: that of the image stays
	Hosts      string    `json:"hosts"`       // the same
	MachineID  string    `json:"machine_id"`  // 32 hexadecimal digits
	Clock      time.Time `json:"clock"`
	Seed       []byte    `json:"seed"` // for the kernel's random numbers

	Leased netip.Addr `json:"leased,omitzero"` // its address, which it has to renew by DHCP; none: it has it for ever

	Root         Root         `json:"root"`
	Capabilities []Capability `json:"capabilities"` // of files, which NFS does not carry
	Volumes      []string     `json:"volumes"`      // directories that the image declares as such
	Permissive   bool         `json:"permissive"`   // the image would enforce SELinux, without labels here
	Rescue       bool         `json:"rescue"`       // stop before the root is mounted

	Init    string   `json:"init"` // that the image has, as /sbin/init; empty: ours stays process 1
	Process *Process `json:"process,omitempty"`
}

// Access is who may log in to a machine as root, and how it proves to them which one it is.
// It changes while the machine is up.
type Access struct {
	Version         string   `json:"access"`           // names it; the agent tells it
	AuthorizedKeys  []string `json:"authorized_keys"`  // lines of that file, see sshd(8)
	HostCertificate string   `json:"host_certificate"` // of the host key, a line as in a file -cert.pub; "": none
}

// Root is where the root file system comes from: NFS or RAM.
type Root struct {
	NFS     []NFS    `json:"nfs,omitempty"` // layers, the upper one first, below a writable one in memory
	RAM     []string `json:"ram,omitempty"` // URLs of tar archives, unpacked into memory one after the other; with ?from=N they begin at byte N
	Size    string   `json:"size"`          // of what may be written, as 512M, or as 60% of the memory that the image leaves; empty: that
	Inodes  string   `json:"inodes"`        // how many files; empty: one for each 4 KiB of it
	Options string   `json:"options"`       // of mounting NFS, in place of those that are tried and true
}

// NFS is a file system of an NFS version 3 server, which answers MOUNT on the same port.
type NFS struct {
	Server string `json:"server"` // IP:port
	Path   string `json:"path"`
}

// Capability is what a file may do beyond its user: the attribute security.capability.
type Capability struct {
	Path  string `json:"path"`
	Value []byte `json:"value"`
}

// Process is what is run where there is no init, as OCI images declare it.
type Process struct {
	Args []string `json:"args"`
	Env  []string `json:"env"`
	Dir  string   `json:"dir"`
	User string   `json:"user"` // names or numbers, USER or USER:GROUP
}

// Parse reads instructions, and refuses those that no machine could follow.
func Parse(b []byte) (*Instructions, error) {
	i := &Instructions{}
	if err := json.Unmarshal(b, i); err != nil {
		return nil, fmt.Errorf("the instructions are no JSON of theirs: %w", err)
	}
	return i, i.check()
}

func (i *Instructions) check() error {
	switch {
	case (len(i.Root.NFS) == 0) == (len(i.Root.RAM) == 0):
		return errors.New("the instructions must name one root: nfs or ram")
	case i.Init != "" && !path.IsAbs(i.Init):
		return fmt.Errorf("the instructions name the init %q, which is no absolute path", i.Init)
	case i.HostKey == "":
		return errors.New("the instructions have no host key")
	}
	for _, n := range i.Root.NFS {
		host, port, err := net.SplitHostPort(n.Server)
		if err != nil || net.ParseIP(host) == nil || port == "" || !path.IsAbs(n.Path) {
			return fmt.Errorf("the instructions name the NFS root %s:%s, which is no IP:port:/path", n.Server, n.Path)
		}
	}
	for _, text := range []string{i.Root.Size, i.Root.Inodes, i.Host} {
		if strings.ContainsAny(text, ", \n") {
			return fmt.Errorf("the instructions have the word %q", text)
		}
	}
	if slices.ContainsFunc(i.Volumes, func(v string) bool { return !path.IsAbs(v) || path.Clean(v) == "/" }) {
		return fmt.Errorf("the instructions have the volumes %q, one of which is no absolute path", i.Volumes)
	}
	return nil
}

// Step is how far a boot is. The zero Step is before all others.
type Step string

// The steps of a boot, in their order. A boot that fails stays at its step.
const (
	Modules Step = "modules"      // loads the drivers of its devices
	Network Step = "network"      // waits for its interface and link
	Asking  Step = "instructions" // asks for its instructions
	Rescue  Step = "rescue"       // has stopped, as its instructions say
	Mounts  Step = "root"         // makes its root file system
	Init    Step = "init"         // runs the image's init
	Up      Step = "up"           // its SSH answers
)

// Begun is when a step began.
type Begun struct {
	Step   Step    `json:"step"`
	Uptime float64 `json:"uptime"` // seconds since the kernel started
}

// Report is what an agent tells the server: when it connects, when something changes,
// and once in a while. Each one says all.
type Report struct {
	Token  string  `json:"token"`
	Boot   string  `json:"boot"`
	Digest string  `json:"digest"`
	Kernel string  `json:"kernel"` // its version
	Steps  []Begun `json:"steps"`  // the last one is where it is
	Uptime float64 `json:"uptime"` // seconds
	Failed string  `json:"failed"` // why this boot has come to its end
	Ended  string  `json:"ended"`  // how the process of an image without an init ended
	Used   int64   `json:"used"`   // bytes of memory that files written since the boot take
	Size   int64   `json:"size"`   // bytes that they may take
	Ending string  `json:"ending"` // Reboot or Poweroff: it has begun to, as it was ordered
	Denied bool    `json:"denied"` // the server of its site does not leave it its address any more
	Deaf   bool    `json:"deaf"`   // no packet wakes its network card when it is off
	LEDs   int     `json:"leds"`   // that it has
	Board  string  `json:"board"`  // in the first report of a connection: what the device tree calls it; "" without one
	Conns  []Conn  `json:"conns"`  // in the first report of a connection: the other ones to the server
	Access string  `json:"access"` // Access.Version of the last one; "": it takes no other one
}

// OrderLimit is how many bytes an order has at most.
const OrderLimit = 4 << 20

// MostConns is how many connections a report tells of at most.
const MostConns = 16

// Conn is a connection of a machine to the server, by its ports.
type Conn struct {
	Local  uint16 `json:"local"` // of the machine
	Remote uint16 `json:"remote"`
}

// Order is what the server tells an agent. Each field is for itself.
type Order struct {
	Power string     `json:"power,omitempty"` // Reboot or Poweroff
	Blink int        `json:"blink,omitempty"` // seconds
	Clock *time.Time `json:"clock,omitempty"` // what time it was when the report of that uptime had come
	After float64    `json:"after,omitempty"` // Report.Uptime of it

	Access *Access `json:"access,omitempty"` // from now on; only for agents that tell which one they have
}

// What Order.Power may be.
const (
	Reboot   = "reboot"
	Poweroff = "poweroff"
)
