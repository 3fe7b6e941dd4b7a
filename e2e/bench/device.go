//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"walt/netboot/instructions"
)

// patience is how long iPXE waits for an answer before it asks again. Firmware waits for
// firstWait, PXE 2.1, section 2.4.4, and longer each time after that; few wait less.
const patience, firstWait = time.Second, 4 * time.Second

// usualLoader is the loader of PCs with UEFI. A server serves others, too: they are of
// other sizes here.
const (
	usualLoader = "snponly.efi"
	largeLoader = "ipxe.efi"
)

var loaderSizes = map[string]int{usualLoader: 128<<10 + 100, largeLoader: 1<<20 + 100, "undionly.kpxe": 100_000}

// device is a PC that boots over the network: its firmware is UEFI, which loads iPXE.
type device struct {
	wire *wire
	mac  net.HardwareAddr
	ip   netip.Addr // once it has one

	worst time.Duration // that it waited for an answer
	slow  string        // to what
}

func (s *segment) device(i int) *device {
	return &device{wire: s.wire, mac: net.HardwareAddr{0x52, 0x54, 0, 0x31, byte(i >> 8), byte(i)}}
}

// waited notes how long it waited for an answer.
func (d *device) waited(took time.Duration, what string) {
	if took > d.worst {
		d.worst, d.slow = took, what
	}
}

var uefi = []dhcpv4.Modifier{
	dhcpv4.WithBroadcast(true), // else answers go to a MAC address that the host does not have
	dhcpv4.WithOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00007:UNDI:003016")),
	dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionClientSystemArchitectureType, []byte{0, 7})),
	dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionClientNetworkInterfaceIdentifier, []byte{1, 3, 16})),
	dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionTFTPServerName, dhcpv4.OptionBootfileName),
}

// discover looks for an address, and returns what it is offered.
func (d *device) discover(more ...dhcpv4.Modifier) (offer *dhcpv4.DHCPv4, took time.Duration, err error) {
	q, err := dhcpv4.NewDiscovery(d.mac, append(uefi, more...)...)
	if err != nil {
		return nil, 0, err
	}
	offer, took, err = d.wire.ask(q, patience, 20)
	d.waited(took, "its DISCOVER")
	return offer, took, err
}

// address takes the address that it is offered.
func (d *device) address(more ...dhcpv4.Modifier) error {
	offer, _, err := d.discover(more...)
	if err != nil {
		return err
	}
	q, err := dhcpv4.NewRequestFromOffer(offer, append(uefi, more...)...)
	if err != nil {
		return err
	}
	a, took, err := d.wire.ask(q, patience, 20)
	if err != nil {
		return err
	}
	d.waited(took, "its REQUEST")
	d.ip, _ = netip.AddrFromSlice(a.YourIPAddr.To4())
	return nil
}

// get asks for something by HTTP.
func (d *device) get(url string) (*http.Response, error) {
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(_ context.Context, _, to string) (net.Conn, error) {
		return d.wire.dialTCP(d.ip, to)
	}}}
	answer, err := c.Get(url)
	if err == nil && answer.StatusCode != http.StatusOK {
		answer.Body.Close()
		err = fmt.Errorf("%s: %s", url, answer.Status)
	}
	return answer, err
}

// script is what iPXE is told.
type script struct{ kernel, initrd, instructions string } // URLs

var (
	bootScript = regexp.MustCompile(`(?s)kernel (\S+) .* ` + instructions.ParamBoot + `=(\S+).*\ninitrd \S+ initrd (\S+)`)
	waitScript = regexp.MustCompile(`\nsleep (\d+)\n`)
)

// chain has iPXE, which it loaded, ask for its address and what to do, until it is told what
// to boot.
func (d *device) chain() (s script, err error) {
	if err := d.address(dhcpv4.WithUserClass("iPXE", false)); err != nil {
		return s, err
	}
	for begun := time.Now(); time.Since(begun) < 2*time.Minute; {
		asked := time.Now()
		answer, err := d.get("http://" + serverAddr.String() + "/ipxe")
		if err != nil {
			return s, err
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			return s, err
		}
		d.waited(time.Since(asked), "its script")
		if f := bootScript.FindSubmatch(text); f != nil {
			return script{string(f[1]), string(f[3]), string(f[2])}, nil
		}
		wait := waitScript.FindSubmatch(text)
		if wait == nil {
			return s, fmt.Errorf("%s is to run: %s", d.mac, text)
		}
		seconds, _ := strconv.Atoi(string(wait[1])) // it is a number
		time.Sleep(time.Duration(seconds) * time.Second)
	}
	return s, fmt.Errorf("%s is told nothing to boot", d.mac)
}

// load gets its loader.
func (d *device) load(f fetch) (fetched, error) {
	f.from, f.server, f.patience = d.ip, netip.AddrPortFrom(serverAddr, 69), patience
	if f.name == "" {
		f.name, f.block, f.window, f.tries = usualLoader, 1468, 1, 5
	}
	got, err := d.wire.fetch(f)
	d.waited(got.first, "its loader")
	if err == nil && got.bytes != loaderSizes[f.name] {
		err = fmt.Errorf("%d bytes of %s", got.bytes, f.name)
	}
	return got, err
}

// boot does all that it does until it has what it boots.
func (d *device) boot() (script, error) {
	if err := d.address(); err != nil {
		return script{}, err
	}
	if _, err := d.load(fetch{}); err != nil {
		return script{}, err
	}
	return d.chain()
}

// read gets all of a file by HTTP, and returns how many bytes that are.
func (d *device) read(url string) (int64, error) {
	answer, err := d.get(url)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	return io.Copy(io.Discard, answer.Body)
}

// root has the agent, which runs, ask what to do, and mount the root file system.
func (d *device) root(s script) error {
	answer, err := d.get(s.instructions)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	var i instructions.Instructions
	if err := json.NewDecoder(answer.Body).Decode(&i); err != nil {
		return err
	}
	if len(i.Root.NFS) != 1 {
		return fmt.Errorf("the root of %s is %+v", d.mac, i.Root)
	}
	c, err := d.wire.dialTCP(d.ip, i.Root.NFS[0].Server)
	if err != nil {
		return err
	}
	defer c.Close()
	path := []byte(i.Root.NFS[0].Path)
	var call bytes.Buffer // RFC 5531 and RFC 1813, appendix I: mount a path
	for _, word := range []uint32{1, 0, 2, 100005, 3, 1, 0, 0, 0, 0, uint32(len(path))} {
		call.Write(binary.BigEndian.AppendUint32(nil, word))
	}
	call.Write(append(path, make([]byte, -len(path)&3)...))
	record := append(binary.BigEndian.AppendUint32(nil, 1<<31|uint32(call.Len())), call.Bytes()...)
	reply := make([]byte, 4+6*4+4)
	if _, err := c.Write(record); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, reply); err != nil {
		return err
	}
	if !bytes.Equal(reply[4+2*4:], make([]byte, 5*4)) { // accepted, and mounted
		return errors.New("the root is not mounted")
	}
	return nil
}
