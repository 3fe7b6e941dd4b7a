// Package config reads the server's TOML file and everything that it names, so
// that whatever is wrong is found at the start. It starts nothing. Its one
// surprising rule: relative paths in the file are relative to the file's
// folder, not to where the server was started.
package config

import (
	"crypto/x509"
	"net/netip"
	"os"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/fault"
	"walt/power/driver"
)

// Config is what the file says, with defaults for what it does not say.
type Config struct {
	Listen     string     `toml:"listen"` // [host]:port for SSH
	Data       string     `toml:"data"`   // directory of all that there is
	Registries []Registry `toml:"registry"`
	Models     []Model    `toml:"model"`
	Docker     Docker     `toml:"docker"`
	Power      Power      `toml:"power"`
	Hold       Hold       `toml:"hold"`
	Queue      Queue      `toml:"queue"`
	Log        Log        `toml:"log"`
	Expose     Expose     `toml:"expose"`
	Boot       Boot       `toml:"boot"`
	Network    Network    `toml:"network"`
	Virtual    Virtual    `toml:"virtual"`
	SSH        SSH        `toml:"ssh"`
}

// Registry is where images come from and are published to.
type Registry struct {
	Label        string `toml:"label"` // as in links, unique; "hub" is Docker Hub
	URL          string `toml:"url"`   // http or https, no trailing slash; the hub's own for ""
	Username     string `toml:"username"`
	PasswordFile string `toml:"password_file"`
	CAFile       string `toml:"ca_file"`
	// Of Docker Hub, label "hub", alone:
	Accounts  []string `toml:"accounts"`   // to search besides waltplatform
	SearchURL string   `toml:"search_url"` // base address of its search, its own for ""

	Password string         `toml:"-"` // what PasswordFile holds
	CA       *x509.CertPool `toml:"-"` // what CAFile holds, nil without one
}

// Model is a kind of node that the server does not know, or knows otherwise.
type Model struct {
	Name     string `toml:"name"`         // as in labels of images
	Platform string `toml:"platform"`     // that its machines run, as in linux/arm/v7; "" for one that is known
	Args     string `toml:"boot_args"`    // words for the kernels of its machines, "" for none
	Console  string `toml:"boot_console"` // of those of boards and PCs, "" where that is known
}

// Docker is the docker daemon on the server.
type Docker struct {
	Host string `toml:"host"` // unix://, tcp://, http:// or https:// URL; "" turns it off
}

// Power is about switching free nodes off, and about what switches nodes.
type Power struct {
	Idle    Duration `toml:"idle"`   // how long a node is free and unused before; 0 is for ever
	Server  string   `toml:"server"` // the outlets that feed the server itself, with + between; "" for none
	Drivers []Driver `toml:"driver"`

	Own driver.Supply `toml:"-"` // what Server says
}

// Hold is about when nodes are released whose owners said until when they have them.
type Hold struct {
	Default Duration   `toml:"default"` // after which they are of which nothing was said; 0 is never
	Warn    []Duration `toml:"warn"`    // how long before the end its owner is told, in open shells
}

// Queue is about those who wait for nodes.
type Queue struct {
	// Patience is for how long nodes are kept for who waits for more, before younger ones get
	// them; 0 is never.
	Patience Duration `toml:"patience"`
}

// Log is about what nodes say. Sizes are as in "16M" or "1G".
type Log struct {
	Size string   `toml:"size"` // of the lines that are kept of all nodes
	Node string   `toml:"node"` // of those of one node
	Age  Duration `toml:"age"`  // how old they become; 0 is any

	Bytes, NodeBytes int64 `toml:"-"` // what Size and Node say
}

// Expose is about ports of the server that lead to nodes.
type Expose struct {
	Ports string `toml:"ports"` // that users may have for that, FIRST-LAST; "" for none

	First, Last uint16 `toml:"-"` // what Ports says, 0 where it says nothing
}

// Boot is about what machines boot.
type Boot struct {
	// Kernel are the images, with spaces between, of which the first one that fits lends its
	// kernel to images without one: OWNER/NAME, or the NAME of a default one, with an optional
	// :TAG; "" is none.
	Kernel string `toml:"kernel"`
	// Firmware is the image that lends boards the firmware which theirs does not have, in
	// the same form; "" is none.
	Firmware string `toml:"firmware"`
}

// Network is the one that boards and PCs boot from.
type Network struct {
	Interface string `toml:"interface"`  // of this host; "" for none: nothing listens
	Address   string `toml:"address"`    // of this host on it; "" for its first one
	DHCP      string `toml:"dhcp"`       // what the server does of it there: full, proxy or off
	Range     string `toml:"range"`      // that devices get, FIRST-LAST; "" for all of the network
	Domain    string `toml:"domain"`     // behind the names of nodes, as in lab.example; "" for none
	Router    string `toml:"router"`     // the way out; "" for none
	DNS       string `toml:"dns"`        // who answers names; "" for nobody
	TFTPPorts string `toml:"tftp_ports"` // that files are sent from by TFTP, FIRST-LAST; "" for any
	Loaders   string `toml:"loaders"`    // directory with iPXE for other firmware

	// What they say, the zero Addr where they say nothing.
	Addr, First, Last, RouterAddr, DNSAddr netip.Addr `toml:"-"`
	// What TFTPPorts says, 0 where it says nothing.
	FirstPort, LastPort uint16 `toml:"-"`
}

// Virtual is about the nodes that the server itself runs.
type Virtual struct {
	Kind    string `toml:"kind"`    // what new ones are: auto, simulated or qemu
	QEMU    string `toml:"qemu"`    // program, "" to look for it in PATH
	Network string `toml:"network"` // that machines are on: InServer or InLab
	Subnet  string `toml:"subnet"`  // IPv4 network of machines, as in 10.217.0.0/20, in the former
	NAT     bool   `toml:"nat"`     // machines reach the world, from the former
	Memory  string `toml:"memory"`  // that all machines may take together, as in 8G; "" for most of the host's
	CPUs    int    `toml:"cpus"`    // that one machine may have, 0 for as many as the host has
	Max     int    `toml:"max"`     // machines that may be on, 0 for any number
	Boot    string `toml:"boot"`    // how the kernel of a machine comes into its memory, unless it is set itself: direct or pxe

	Net netip.Prefix `toml:"-"` // what Subnet says; the zero Prefix InLab
	RAM int          `toml:"-"` // what Memory says, in MiB; 0 when it says nothing
}

// The networks of machines: one of their own, inside of the server, or that of boards and
// PCs, on a bridge of the host.
const InServer, InLab = "private", "lab"

// SSH is about connections and logins.
type SSH struct {
	MaxConnections int      `toml:"max_connections"`
	LoginGrace     Duration `toml:"login_grace"`  // how long a login may take
	IdleTimeout    Duration `toml:"idle_timeout"` // 0 is never
	RSAHostKey     bool     `toml:"rsa_host_key"` // besides the Ed25519 one
	UserCAFile     string   `toml:"user_ca"`

	UserCA []ssh.PublicKey `toml:"-"` // what UserCAFile holds: who may sign users' certificates
}

// Duration is a time.Duration that is written as in "30s" or "2h30m".
type Duration struct {
	time.Duration
	wrong string // the text, when it is not a duration
}

// UnmarshalText parses what time.ParseDuration does. It leaves complaints to
// Load, which knows the line.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration{Duration: v}
	if err != nil {
		d.wrong = string(text)
	}
	return nil
}

// defaultSubnet is inside of the server, where machines alone see it: it matters only
// that nobody in the lab has the same.
const defaultSubnet = "10.217.0.0/20"

// defaultLoaders is where Debian's package of iPXE has its files.
const defaultLoaders = "/usr/lib/ipxe"

// hub is Docker Hub, which serves when no registry is listed.
var hub = Registry{Label: "hub", URL: "https://registry-1.docker.io"}

// Default is the configuration of an empty file.
func Default() Config {
	c := base()
	c.Registries = []Registry{hub}
	return c
}

func base() Config {
	return Config{
		Listen:  ":2222",
		Data:    "/var/lib/walt",
		Docker:  Docker{Host: "unix:///var/run/docker.sock"},
		Power:   Power{Idle: Duration{Duration: 2 * time.Hour}},
		Hold:    Hold{Warn: []Duration{{Duration: 15 * time.Minute}, {Duration: 5 * time.Minute}}},
		Queue:   Queue{Patience: Duration{Duration: 10 * time.Minute}},
		Log:     Log{Size: "1G", Node: "16M", Age: Duration{Duration: 30 * 24 * time.Hour}, Bytes: 1 << 30, NodeBytes: 16 << 20},
		Network: Network{DHCP: "full", Loaders: defaultLoaders},
		Virtual: Virtual{Kind: "auto", Boot: "direct", Network: InServer, Subnet: defaultSubnet, Net: netip.MustParsePrefix(defaultSubnet)},
		SSH: SSH{
			MaxConnections: 1000,
			LoginGrace:     Duration{Duration: 30 * time.Second},
		},
	}
}

// At says where the value of a key is in a file that was loaded, as the faults of Load do,
// as in "walt.toml:3: network.interface". Of a key that is not there it is where its table is.
func At(path, key string) string {
	text, _ := os.ReadFile(path) // it was read a moment ago
	k := checker{file: path, lines: lines(text)}
	return k.at(key)
}

// Load reads and checks the file. What is wrong is a fault with a line for each
// problem, which names the file, the line and the key, and says what is allowed.
func Load(path string) (Config, error) {
	text, err := os.ReadFile(path)
	if err == nil {
		text, err = plainText(path, text)
	}
	if err != nil {
		return Config{}, fault.Failedf("cannot read the configuration: %v", err)
	}
	c := base()
	if err := decode(path, text, &c); err != nil {
		return Config{}, err
	}
	k := checker{file: path, lines: lines(text)}
	k.config(&c)
	if len(k.problems) > 0 {
		return Config{}, fail(k.problems)
	}
	if len(c.Registries) == 0 {
		c.Registries = []Registry{hub}
	}
	return c, nil
}
