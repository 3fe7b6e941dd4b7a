package config_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/config"
	"walt/fault"
)

const full = `
listen = "127.0.0.1:2200"
data = "data"

[[registry]]                 # the lab's own
label = "lab"
url = "http://127.0.0.1:5000/"
username = "walt"
password_file = "secret"

[[registry]]
label = "hub"
accounts = ["alice", "my_org"]
search_url = "http://127.0.0.1:8080/"

[[registry]]
label = "far"
url = "https://far.example/images"
ca_file = "keys/ca.pem"

[[model]]
name = "visionfive-2"
platform = "linux/riscv64"

[[model]]
name = "rpi-4-b"
boot_args = "loglevel=7 quiet"
boot_console = "ttyAMA0,115200"

[docker]
host = ""

[power]
idle = "1h30m"

[hold]
default = "8h"
warn = ["1h"]

[queue]
patience = "90s"

[log]
size = "2G"
node = "64m"
age = "72h"

[boot]
kernel = "alice/debian:12 rpi-4-b-default"
firmware = "rpi-firmware"
[network]
interface = "eth1"
dhcp = "full"
address = "192.168.7.1"
range = "192.168.7.100 - 192.168.7.199"
domain = "lab.example"
router = "192.168.7.254"
dns = "192.168.7.253"
tftp_ports = "30000 - 30099"
loaders = "ipxe"

[virtual]
kind = "qemu"
qemu = "/opt/qemu"
subnet = "192.168.77.0/24"
nat = true
memory = "1536M"
cpus = 3
max = 20
boot = "pxe"

[ssh]
max_connections = 10
login_grace = "5s"
idle_timeout = "10m"
rsa_host_key = true
user_ca = "keys/ca.pub"
`

func TestLoad(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	c, err := config.Load(write(t, dir, full))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Registries) != 3 || c.Registries[2].CA == nil || len(c.SSH.UserCA) != 2 {
		t.Fatalf("not read: %+v", c)
	}
	c.Registries[2].CA, c.SSH.UserCA = nil, nil
	want := config.Config{
		Listen: "127.0.0.1:2200",
		Data:   filepath.Join(dir, "data"),
		Registries: []config.Registry{
			{Label: "lab", URL: "http://127.0.0.1:5000", Username: "walt", PasswordFile: filepath.Join(dir, "secret"), Password: "pass word"},
			{Label: "hub", URL: "https://registry-1.docker.io", Accounts: []string{"alice", "my_org"}, SearchURL: "http://127.0.0.1:8080"},
			{Label: "far", URL: "https://far.example/images", CAFile: filepath.Join(dir, "keys/ca.pem")},
		},
		Models: []config.Model{{Name: "visionfive-2", Platform: "linux/riscv64"}, {Name: "rpi-4-b", Args: "loglevel=7 quiet", Console: "ttyAMA0,115200"}},
		Power:  config.Power{Idle: config.Duration{Duration: 90 * time.Minute}},
		Hold:   config.Hold{Default: config.Duration{Duration: 8 * time.Hour}, Warn: []config.Duration{{Duration: time.Hour}}},
		Queue:  config.Queue{Patience: config.Duration{Duration: 90 * time.Second}},
		Log:    config.Log{Size: "2G", Node: "64m", Age: config.Duration{Duration: 72 * time.Hour}, Bytes: 2 << 30, NodeBytes: 64 << 20},
		Boot:   config.Boot{Kernel: "alice/debian:12 rpi-4-b-default", Firmware: "rpi-firmware"},
		Network: config.Network{
			Interface: "eth1", DHCP: "full", Address: "192.168.7.1", Range: "192.168.7.100 - 192.168.7.199", Domain: "lab.example", Router: "192.168.7.254", DNS: "192.168.7.253", TFTPPorts: "30000 - 30099", FirstPort: 30000, LastPort: 30099, Loaders: filepath.Join(dir, "ipxe"),
			Addr: netip.MustParseAddr("192.168.7.1"), First: netip.MustParseAddr("192.168.7.100"), Last: netip.MustParseAddr("192.168.7.199"),
			RouterAddr: netip.MustParseAddr("192.168.7.254"), DNSAddr: netip.MustParseAddr("192.168.7.253"),
		},
		Virtual: config.Virtual{
			Kind: "qemu", QEMU: "/opt/qemu", Network: config.InServer, Subnet: "192.168.77.0/24", NAT: true, Net: netip.MustParsePrefix("192.168.77.0/24"),
			Memory: "1536M", RAM: 1536, CPUs: 3, Max: 20, Boot: "pxe",
		},
		SSH: config.SSH{
			MaxConnections: 10,
			LoginGrace:     config.Duration{Duration: 5 * time.Second},
			IdleTimeout:    config.Duration{Duration: 10 * time.Minute},
			RSAHostKey:     true,
			UserCAFile:     filepath.Join(dir, "keys/ca.pub"),
		},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

// Faults that are found later name the file and the line as those of Load do; and who has a
// section for boards, and says that there is no interface, has none.
func TestAt(t *testing.T) {
	t.Parallel()
	file := write(t, folder(t), "listen = \":1\"\n[network]\n\ninterface = \"\"\n")
	if _, err := config.Load(file); err != nil {
		t.Error(err)
	}
	for key, want := range map[string]string{"network.interface": ":4: network.interface", "network.router": ":2: network.router", "virtual.subnet": ":1: virtual.subnet"} {
		if got := config.At(file, key); got != file+want {
			t.Errorf("%s is at %s, want %s", key, got, file+want)
		}
	}
}

func TestDefault(t *testing.T) {
	t.Parallel()
	c, err := config.Load(write(t, folder(t), "# nothing\n"))
	if err != nil || !reflect.DeepEqual(c, config.Default()) {
		t.Errorf("an empty file is %+v, %v", c, err)
	}
	if len(c.Registries) != 1 || c.Registries[0].Label != "hub" || c.Listen != ":2222" || c.SSH.LoginGrace.Duration != 30*time.Second {
		t.Errorf("the default is %+v", c)
	}
}

// usb is a driver.
// rack declares a PDU.
func rack(name, host string) string {
	return fmt.Sprintf("[[power.driver]]\nname = %q\nkind = \"snmp\"\nhost = %q\nprofile = \"apc\"\n\n", name, host)
}

const usb = "[[power.driver]]\nname = \"usb\"\nkind = \"command\"\nprogram = [\"/bin/true\"]\n"

func TestProblems(t *testing.T) {
	t.Parallel()
	lab := "[[registry]]\nlabel = \"lab\"\nurl = \"http://r\"\n"
	for _, c := range []struct{ text, says string }{
		{"listen = \":1\"\nlissten = \":2\"", `:2: unknown key "lissten"; did you mean "listen"?`},
		{"[shs]\nx = 1", `:1: unknown key "shs"; did you mean "ssh"?`},
		{"[ssh]\n\nmax_connection = 1", `:3: unknown key "ssh.max_connection"; did you mean "max_connections"?`},
		{lab + "colour = 1", `:4: unknown key "registry.colour"; known here: label, url, username, password_file, ca_file`},
		{"power.sleep = 1\ndocker.hots = 2", ":2: unknown key \"docker.hots\"; did you mean \"host\"?"},
		{"power.sleep = 1\ndocker.hots = 2", ":1: unknown key \"power.sleep\"; known here: idle, server, driver\n"},

		{"[[model]]\nname = \"Board\"\nplatform = \"linux/riscv64\"", `:2: model.name: "Board" is not a model`},
		{"[[model]]\nname = \"a\"\nplatform = \"arm\"", `:3: model.platform: "arm" is not a platform; want one like "linux/arm/v7"`},
		{"[[model]]\nname = \"a\"", `:1: model.platform: "" is not a platform`},
		{"[[model]]\nname = \"rpi-4-b\"\nboot_args = \"quiet; reboot\"", `:3: model.boot_args: invalid words for the kernel: ";" cannot be among them`},
		{"[[model]]\nname = \"rpi-4-b\"\nboot_console = \"COM1\"", `:3: model.boot_console: "COM1" is no console; want one as in "ttyS1,115200"`},
		{"\n[network]\n", `:2: network.interface: is missing; want the network interface that boards and PCs are on`},
		{"[network]\ndhcp = \"off\"", `:1: network.interface: is missing`},
		{"model = 1", `:1: model: want tables, as in [[model]]`},
		{"\nlisten = 22", `:2: listen: want text in quotes`},
		{"[ssh]\nmax_connections = \"10\"", `:2: ssh.max_connections: want a whole number`},
		{"[ssh]\nmax_connections = 1.5", `:2: ssh.max_connections: want a whole number`},
		{"[ssh]\nrsa_host_key = \"no\"", `:2: ssh.rsa_host_key: want true or false`},
		{"[ssh]\nlogin_grace = 30", `:2: ssh.login_grace: "30" is not a duration; want one in quotes, as in "30s" or "2h"`},
		{"[ssh]\nlogin_grace = []", `:2: ssh.login_grace: want a duration in quotes`},
		{"[ssh]\nlogin_grace = \"soon\"", `:2: ssh.login_grace: "soon" is not a duration`},
		{lab + lab + "username = []", `:7: registry.username: want text in quotes`},
		{"registry = \"lab\"", `:1: registry: want tables, as in [[registry]]`},
		{"docker = \"no\"", `:1: docker: want a table`},

		{"listen = ", ":1: "},
		{"a = 1\na = 2", ":2: "},
		{"listen = \":1\"\n[ssh\n", ":2: "},

		{"listen = \"2222\"", `:1: listen: "2222" is not an address to listen on; want`},
		{"listen = \":ssh\"", `:1: listen:`},
		{"listen = \":70000\"", `:1: listen:`},
		{"data = \"\"", `:1: data: is empty`},
		{"[ssh]\nmax_connections = -1", `:2: ssh.max_connections: -1 is too small; want at least 1`},
		{"[ssh]\nlogin_grace = \"0s\"", `:2: ssh.login_grace: 0s is too short`},
		{"[ssh]\nidle_timeout = \"-1s\"", `:2: ssh.idle_timeout: -1s is too short; want at least 0s`},
		{"power = { idle = \"-2h\" }", `:1: power.idle: -2h0m0s is too short`},
		{"[log]\nsize = \"many\"", `:2: log.size: "many" is not a size`},
		{"[log]\nnode = \"0M\"", `:2: log.node: "0M" is not a size`},
		{"[log]\nage = \"-1h\"", `:2: log.age: -1h0m0s is too short`},
		{"[hold]\ndefault = \"-2h\"", `:2: hold.default: -2h0m0s is too short`},
		{"[hold]\nwarn = [\"15m\", \"soon\"]", `:2: hold.warn: "soon" is not a duration`},
		{"[hold]\nwarn = [\"0s\"]", `:2: hold.warn: 0s is too short`},
		{"[network]\naddress = \"192.168.7.1\"", `:1: network.interface: is missing; want the network interface`},
		{"[network]\ninterface = \"eth1\"\naddress = \"192.168.7.1/24\"", `:3: network.address: "192.168.7.1/24" is no IPv4 address; want one as in "192.168.7.1"`},
		{"[network]\ndhcp = \"proxy\"", `:1: network.interface: is missing`},
		{"[network]\ninterface = \"eth1\"\ndhcp = \"on\"", `:3: network.dhcp: "on" is nothing to do of DHCP; want "full" to give`},
		{"[network]\ninterface = \"eth1\"\ndhcp = \"off\"\nrange = \"192.168.7.1-192.168.7.9\"", `:4: network.range: is for dhcp = "full" alone`},
		{"[network]\ninterface = \"eth1\"\ndomain = \"Lab\"", `:3: network.domain: "Lab" is no domain; want one in lower case, as in "lab.example"`},
		{"[network]\ninterface = \"eth1\"\ndomain = \"lab.\"", `:3: network.domain:`},
		{"[network]\ninterface = \"eth1\"\ntftp_ports = \"30000\"", `:3: network.tftp_ports: "30000" are no ports; want two from 1024 on, as in "30000-30099"`},
		{"[network]\ninterface = \"eth1\"\ntftp_ports = \"69-100\"", `:3: network.tftp_ports:`},
		{"[network]\ninterface = \"eth1\"\ntftp_ports = \"3000-2000\"", `:3: network.tftp_ports:`},
		{"[network]\ninterface = \"eth1\"\ntftp_ports = \"60000-70000\"", `:3: network.tftp_ports:`},
		{"[network]\ninterface = \"eth1\"\nrouter = \"fd00::1\"", `:3: network.router: "fd00::1" is no IPv4 address`},
		{"[network]\ninterface = \"eth1\"\ndns = \"dns.lab\"", `:3: network.dns: "dns.lab" is no IPv4 address`},
		{"[network]\ninterface = \"eth1\"\nrange = \"192.168.7.1\"", `:3: network.range: "192.168.7.1" is no range; want two addresses of IPv4`},
		{"[network]\ninterface = \"eth1\"\nrange = \"192.168.7.9-192.168.7.1\"", `:3: network.range: "192.168.7.9-192.168.7.1" ends before it begins; want the lower address first`},
		{"[network]\ninterface = \"eth1\"\nrange = \"fd00::1-fd00::9\"", `:3: network.range:`},
		{"[virtual]\nkind = \"kvm\"", `:2: virtual.kind: "kvm" is no kind of virtual nodes; want "auto", "qemu" or "simulated"`},
		{"[boot]\nkernel = \"a/b/c\"", `:2: boot.kernel: "a/b/c" is not the name of an image; want one as in`},
		{"[boot]\nkernel = \"hub:debian/x\"", `:2: boot.kernel: "hub:debian/x" is not`},
		{"[boot]\nkernel = \"alice/debian Debian\"", `:2: boot.kernel: "Debian" is not`},
		{"[boot]\nkernel = \"Debian\"", `:2: boot.kernel: "Debian" is not`},
		{"[boot]\nfirmware = \"a/b/c\"", `:2: boot.firmware: "a/b/c" is not the name of an image`},
		{"[boot]\nkernel = 1", `:2: boot.kernel: want text in quotes`},
		{"[virtual]\nboot = \"ipxe\"", `:2: virtual.boot: "ipxe" is no way for machines to boot; want "direct" or "pxe"`},
		{"[virtual]\nboot = \"\"", `:2: virtual.boot: "" is no way`},
		{"[virtual]\nboot = true", `:2: virtual.boot: want text in quotes`},
		{"[virtual]\nmemory = \"lots\"", `:2: virtual.memory: "lots" is not a size; want one as in "8G" or "512M"`},
		{"[virtual]\nmemory = \"0G\"", `:2: virtual.memory: "0G" is not a size`},
		{"[virtual]\nmemory = \"99999999999G\"", `:2: virtual.memory: "99999999999G" is not a size`},
		{"[virtual]\nmemory = \"8\"", `:2: virtual.memory: "8" is not a size`},
		{"[virtual]\ncpus = -1", `:2: virtual.cpus: -1 is not a number of processors`},
		{"[virtual]\nmax = -1", `:2: virtual.max: -1 is too small`},
		{"[virtual]\nsubnet = \"10.0.0.1/8\"", `:2: virtual.subnet: "10.0.0.1/8" is not a private IPv4 network; want one as in "10.217.0.0/20"`},
		{"[virtual]\nsubnet = \"8.8.8.0/24\"", `:2: virtual.subnet: "8.8.8.0/24" is not a private`},
		{"[virtual]\nsubnet = \"fd00::/64\"", `:2: virtual.subnet: "fd00::/64" is not a private`},
		{"[virtual]\nsubnet = \"10.0.0.0/30\"", `:2: virtual.subnet:`},
		{"[virtual]\nsubnet = \"\"", `:2: virtual.subnet:`},
		{"[virtual]\nnetwork = \"bridge\"", `:2: virtual.network: "bridge" is no network of machines; want "private" for one inside of the server, or "lab" for`},
		{"[virtual]\nnetwork = \"lab\"", `:2: virtual.network: "lab" is the network of boards and PCs, and there is none; name a bridge in [network] interface, as in "lab0"`},
		{"[virtual]\nnetwork = \"lab\"\n[network]\ninterface = \"lab0\"\ndhcp = \"proxy\"", `:2: virtual.network: "lab" is for dhcp = "full" below [network] alone`},
		{"[virtual]\nnetwork = \"lab\"\nnat = true\n[network]\ninterface = \"lab0\"", `:3: virtual.nat: is for network = "private" alone; the way out of the lab's network is [network] router`},
		{"[docker]\nhost = \"/var/run/docker.sock\"", `:2: docker.host: "/var/run/docker.sock" is not an address of a docker daemon`},
		{"[docker]\nhost = \"unix://relative\"", `:2: docker.host:`},

		{"[[registry]]\nurl = \"http://r\"", `:1: registry.label: "" is not a label`},
		{"[[registry]]\nurl = \"http://r\"\nlabel = \"Lab\"", `:3: registry.label: "Lab" is not a label`},
		{"[[registry]]\nurl = \"http://r\"\nlabel = \"docker\"", `:3: registry.label: "docker" is reserved`},
		{"[[registry]]\nurl = \"http://r\"\nlabel = \"docker\"", `:3: registry.label: "docker" is reserved`},
		{"[[registry]]\nlabel = \"hub\"\naccounts = [\"ok\", \"Not ok\"]", `:3: registry.accounts: "Not ok" is not an account of Docker Hub`},
		{"[[registry]]\nlabel = \"hub\"\naccounts = \"bob\"", `:3: registry.accounts: want a list of text`},
		{"[[registry]]\nlabel = \"hub\"\nsearch_url = \"hub\"", `:3: registry.search_url: "hub" is not a URL`},
		{"[[registry]]\nlabel = \"lab\"\nurl = \"http://r\"\naccounts = []", `:4: registry.accounts: is for the registry with the label "hub" alone`},
		{"[[registry]]\nlabel = \"lab\"\nurl = \"http://r\"\nsearch_url = \"http://s\"", `:4: registry.search_url: is for the registry with the label "hub" alone`},
		{lab + lab, `:5: registry.label: "lab" is the label of another registry too`},
		{"[[registry]]\nlabel = \"lab\"", `:1: registry.url: is missing`},
		{"[[registry]]\nlabel = \"lab\"\nurl = \"127.0.0.1:5000\"", `:3: registry.url: "127.0.0.1:5000" is not a URL of a registry; want "http`},
		{"[[registry]]\nlabel = \"lab\"\nurl = \"ftp://r\"", `:3: registry.url:`},
		{"[[registry]]\nlabel = \"lab\"\nurl = \"http://u:geheim@r\"", `:3: registry.url: names a user`},
		{"[[registry]]\nlabel = \"lab\"\nurl = \"http://u:geheim@\"", `:3: registry.url: names a user`},
		{"[[registry]]\nlabel = \"lab\"\nurl = \"http://\"", `:3: registry.url: "http:/" is not a URL of a registry`},
		{"[[registry]]\nlabel = \"lab\"\nurl = \"http://a b\"", `:3: registry.url: "http://a b" is not a URL of a registry`},
		{lab + "username = \"walt\"", `:4: registry.username: username and password_file go together`},
		{lab + "username = \"w\"\npassword_file = \"open\"", `:5: registry.password_file: others can read DIR/open (mode 0644); run: chmod 600 DIR/open`},
		{lab + "username = \"w\"\npassword_file = \"none\"", `:5: registry.password_file: open DIR/none: no such file`},
		{lab + "username = \"w\"\npassword_file = \"empty\"", `:5: registry.password_file: DIR/empty must hold one line`},
		{lab + "ca_file = \"open\"", `:4: registry.ca_file: DIR/open holds no certificate`},
		{"[ssh]\nuser_ca = \"open\"", `:2: ssh.user_ca: DIR/open holds a line that is not a public key`},
		{"power.server = \"rack1:3\"", `:1: power.server: rack1:3 is of no driver here; declare rack1 as [[power.driver]]`},
		{"power.server = \"rack1\\n\"", `:1: power.server: "rack1\n" is no outlet; want DRIVER:PORT`},
		{"[[power.driver]]\nname = \"usb\"\nkind = \"snpm\"", `:3: power.driver.kind: "snpm" is no kind of driver; want one of command, http, ipmi, redfish, snmp`},
		{"[[power.driver]]\nname = \"usb\"\nkind = \"command\"", `:1: power.driver.program: is missing; want a list`},
		{"[[power.driver]]\nname = \"usb\"\nkind = \"command\"\nprogram = [\"usbpower\"]", `:4: power.driver.program: "usbpower" is no absolute path; want one, as in /usr/local/libexec/usbpower`},
		{"[[power.driver]]\nname = \"usb\"", `:1: power.driver.kind: is missing; want one of command, http`},
		{"[[power.driver]]\nkind = \"command\"\nprogram = [\"/bin/true\"]", `:1: power.driver.name: is missing; want one that nodes can tell`},
		{"[[power.driver]]\nname = \"usb\"\nkind = \"command\"\nprogram = [\"/no/such\"]", `:4: power.driver.program: cannot use the program: lstat /no: no such file`},
		{"[[power.driver]]\nname = \"Usb\"\nkind = \"command\"\nprogram = [\"/bin/true\"]\ntimeout = \"1ms\"", `:5: power.driver.timeout: 1ms is too short; want at least 1s`},
		{"[[power.driver]]\nname = \"poe\"\nkind = \"command\"\nprogram = [\"/bin/true\"]", `:2: power.driver.name: "poe" means something else; choose another name`},
		{usb + "[[power.driver]]\nname = \"hub\"\nkind = \"command\"\nprogram = [\"/bin/true\"]\n", `:6: power.driver.name: "hub" leads to the same outlets as "usb"; declare one driver for them`},
		{rack("a", "PDU-1.lab.:161") + rack("b", "pdu-1.lab"), `:8: power.driver.name: "b" leads to the same outlets as "a"`},
		{rack("a", "[FD00:0::2]:161") + rack("b", "fd00::2"), `:8: power.driver.name: "b" leads to the same outlets as "a"`},
		{"[power]\nserver = \"usb\"\n" + usb, `:2: power.server: usb does not say which port that is; write it as usb:PORT`},
		{"[power]\nserver = \"usb@10.9.0.2:3\"\n" + usb, `:2: power.server: usb@10.9.0.2:3 names a host, and driver usb does not take one from nodes; write it as usb:3`},
		{usb + usb, `:6: power.driver.name: "usb" is the name of another driver too; names must differ`},
		{"power.driver = [\"usb\"]", `:1: power.driver: want tables, as in [[power.driver]]`},
		{"[ssh]\nuser_ca = \"empty\"", `:2: ssh.user_ca: DIR/empty holds no public key`},
	} {
		dir := folder(t)
		path := write(t, dir, c.text)
		_, err := config.Load(path)
		says := strings.ReplaceAll(path+c.says, "DIR", dir)
		f := fault.As(err)
		if f == nil || f.Kind != fault.Failed || !strings.Contains(f.Msg+"\n", says) {
			t.Errorf("%q:\n got %v\nwant %s", c.text, err, says)
		}
		if strings.Contains(f.Error(), "geheim") {
			t.Errorf("a password is shown: %v", err)
		}
	}
	_, err := config.Load(write(t, folder(t), "listen = \"\"\n[power]\nidle = \"-1s\"\n"))
	if err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("two problems are told as: %v", err)
	}
	if _, err := config.Load("/no/such/file"); fault.As(err) == nil || !strings.Contains(err.Error(), "/no/such/file") {
		t.Errorf("a file that is not there: %v", err)
	}
}

func write(t *testing.T, dir, text string) string {
	t.Helper()
	path := filepath.Join(dir, "walt.toml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// folder makes the files that the configurations name.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	line := string(ssh.MarshalAuthorizedKey(key))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"secret":      "pass word\n",
		"open":        "pass word\n",
		"empty":       "\n",
		"keys/ca.pub": "# who signs\n" + line + "\n" + line,
		"keys/ca.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})),
	} {
		mode := os.FileMode(0o600)
		if name == "open" {
			mode = 0o644
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Editors of other systems begin files with a byte-order mark.
func TestByteOrderMarks(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	for _, name := range []string{"secret", "keys/ca.pub"} {
		file := filepath.Join(dir, name)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append([]byte("\ufeff"), text...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Load(write(t, dir, "\ufeff"+full))
	if err != nil || c.Listen != "127.0.0.1:2200" || c.Registries[0].Password != "pass word" || len(c.SSH.UserCA) != 2 {
		t.Errorf("%+v, %v", c, err)
	}
	for _, mark := range []string{"\xff\xfe", "\xfe\xff"} {
		if _, err := config.Load(write(t, dir, mark+"l\x00")); fault.As(err) == nil || !strings.Contains(err.Error(), "is UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8 ") {
			t.Errorf("UTF-16: %v", err)
		}
	}
}
