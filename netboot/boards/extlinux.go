package boards

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"walt/ethernet"
	"walt/netboot"
	"walt/netboot/tftp"
)

// extlinux is the configuration with which U-Boot boots what the node is to boot now. U-Boot
// that knows nothing else would stop for ever without one: while it cannot boot yet it gets
// comments, as slowly as it bears, and the configuration behind them.
func (b *boards) extlinux(mac ethernet.MAC, ip netip.Addr) (tftp.File, error) {
	w := &waiting{b: b, mac: mac, ip: ip}
	if err := w.try(); err != nil {
		return tftp.File{}, err
	}
	if w.done {
		return text(w.text)
	}
	return tftp.File{ReaderAt: w, Closer: io.NopCloser(nil), Size: tftp.Unknown, Pause: patience, Block: 8}, nil
}

// patience is how long U-Boot waits for the next part of a file: less than the 5 seconds
// after which it asks for it again, which it does not do for ever.
const patience = 3 * time.Second

// waiting is the configuration of a board, as far as it was sent.
type waiting struct {
	b    *boards
	mac  ethernet.MAC
	ip   netip.Addr
	text []byte
	done bool      // that is all of it
	slow bool      // who reads it has waited
	next time.Time // when it is tried again to boot
}

// try completes the configuration if the board can boot.
func (w *waiting) try() error {
	ctx := context.Background() // what is begun is made, whoever waits for it
	d, err := w.b.asks(ctx, w.mac)
	if err != nil {
		return err
	}
	made, why, seconds := w.b.next(ctx, d, w.ip)
	if made != nil {
		if _, why = starts(made, w.b.kernelOf(ctx, made)); why == "" {
			w.text, w.done = append(w.text, extlinuxBoots(made)...), true
			return nil
		}
		seconds = failed
	}
	if w.text == nil {
		w.b.Boots.Complain(w.ip, "a board with U-Boot waits", "device", d.Name, "why", why)
	}
	w.next = w.b.Now().Add(time.Duration(seconds) * time.Second)
	return nil
}

// ReadAt implements io.ReaderAt: while there is nothing to read there is a line that says
// nothing, later. It is called by one goroutine at a time.
func (w *waiting) ReadAt(p []byte, at int64) (int, error) {
	for !w.done && int64(len(w.text)) < at+int64(len(p)) {
		if w.slow = !w.slow; w.slow {
			return 0, tftp.ErrLater
		}
		if !w.b.Now().Before(w.next) {
			if err := w.try(); err != nil {
				return 0, err
			}
		}
		if !w.done {
			w.text = append(w.text, "#"+strings.Repeat(".", max(0, len(p)-2))+"\n"...)
		}
	}
	n := copy(p, w.text[min(at, int64(len(w.text))):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// extlinuxBoots is the configuration for a boot.
func extlinuxBoots(made *netboot.Fetched) string {
	dir := "/" + dirOf(made)
	c := fmt.Sprintf("DEFAULT walt\nLABEL walt\n\tKERNEL %[1]skernel\n\tINITRD %[1]sinitrd\n\tAPPEND %[2]s\n", dir, made.CommandLine)
	if hasDeviceTrees(made) {
		c += "\tFDTDIR " + dir + "dtb\n"
	}
	return c
}
