package machines

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"walt/images/imagetest"
	"walt/netboot/boottest"
)

// securePC is a PC on the network whose firmware has Secure Boot, and trusts what Microsoft
// signed. It returns the file of its console, and what presses its reset button.
func securePC(t *testing.T, name, mac string) (console string, reset func()) {
	t.Helper()
	b, err := os.ReadFile("/usr/share/OVMF/OVMF_VARS_4M.ms.fd")
	if err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(t.TempDir(), "vars")
	if err := os.WriteFile(kept, b, 0o600); err != nil {
		t.Fatal(err)
	}
	button := filepath.Join(t.TempDir(), "button")
	console = plug(t, name, "qemu-system-x86_64",
		"-machine", "q35,smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on",
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "-drive", "if=pflash,unit=1,format=raw,file="+kept,
		"-device", "virtio-net-pci,netdev=n,romfile=,mac="+mac, "-monitor", "unix:"+button+",server=on,wait=off")
	return console, func() {
		t.Helper()
		c, err := net.Dial("unix", button)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "system_reset\n"); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(boottest.Wait))
		for said, b := "", make([]byte, 4096); strings.Count(said, "(qemu) ") < 2; { // before the command, and after it
			n, err := c.Read(b)
			if said += string(b[:n]); err != nil {
				t.Fatalf("the reset button: %v, %q", err, said)
			}
		}
	}
}

// A PC with Secure Boot refuses iPXE, and node show asks about that. When it has done so
// twice it gets the shim and GRUB of its image, a Debian, whose own kernel it boots. It is
// renamed then.
func TestSecureBoot(t *testing.T) {
	boottest.NeedLong(t, "debootstrap")
	b, err := os.ReadFile(boottest.Debian(t, "systemd-sysv", "kmod", "linux-image-cloud-amd64", "shim-signed", "grub-efi-amd64-signed", "openssh-server"))
	if err != nil {
		t.Fatal(err)
	}
	if inNetwork(t) {
		return
	}
	newSegment(t)
	w := newWorld(t, map[string]map[string]string{}, segment)
	imagetest.Push(t, w.registry, "waltplatform/pc-x86-64-default:latest", imagetest.Image(t, with(t, []v1.Layer{plain(b)}, map[string]string{
		units + "serial-getty@ttyS0.service": masked, // without udev it would be waited for
	}), "walt.node.models", "pc-x86-64"))
	w.untilLogged("boards and PCs boot from here")

	const mac, refuses = "52:54:00:4f:2a:1c", "Access Denied"
	console, reset := securePC(t, "tap0", mac)
	w.until("alice", "device show --json", `"name":"pc-4f2a1c"`)
	w.until("alice", "node show --all --json", `"name":"pc-4f2a1c"`)
	awaitConsole(t, console, 1, refuses)
	w.does("alice", "node config pc-4f2a1c boot.timeout=900")
	reset()
	awaitConsole(t, console, 2, refuses)
	w.until("alice", "node show pc-4f2a1c", "has not run it: Secure Boot?")
	reset()
	w.up("alice", "pc-4f2a1c")
	const asks = "cd /run; mkdir e s; mount -t efivarfs e e; mount -t securityfs s s; od -An -tu1 -j4 -N1 e/SecureBoot-*; cat s/lockdown /proc/1/comm"
	if out := w.does("alice", "node run pc-4f2a1c "+asks); strings.Join(strings.Fields(out), " ") != "1 none [integrity] confidentiality systemd" {
		t.Errorf("with Secure Boot it is %q", out)
	}
	// It goes on under another name, of which its SSH server shows the certificate.
	s := w.newTools("alice")
	s.known(false)
	s.tells("alice", "pc-4f2a1c", "true", openssh, certified("pc-4f2a1c"), letIn)
	w.does("alice", "device rename pc-4f2a1c bench")
	s.tells("alice", "bench", "true", openssh, certified("bench"), letIn)
}
