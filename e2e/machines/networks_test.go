package machines

import (
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"walt/netboot/boottest"
)

// managed are the layers of a Debian that has all managers of networks, and these files.
func managed(t *testing.T, files map[string]string) []v1.Layer {
	t.Helper()
	files[units+"serial-getty@ttyS0.service"] = masked // a slow machine waits for its device
	layers := debianLayers(t, "systemd-sysv", "libpam-systemd", "openssh-server", "ifupdown", "isc-dhcp-client", "network-manager", "iproute2", "iputils-ping", "dbus", "procps", "udev", "kmod")
	return with(t, layers, files)
}

// runs is what is true of a machine on which systemd has started all, these services too.
func runs(services ...string) map[string]string {
	return map[string]string{
		"systemctl is-system-running --wait; systemctl --failed --no-legend; systemctl is-active ssh " + strings.Join(services, " "): "running\nactive\n" + strings.Repeat("active\n", len(services)),
	}
}

// ifupdown and NetworkManager leave the interface of the root alone, each of which is told
// to have it, also when somebody tells them to begin anew.
func TestNetworkManager(t *testing.T) {
	boottest.NeedLong(t, "debootstrap")
	w := newWorld(t, map[string]map[string]string{"waltplatform/pc-x86-64-default": {}})
	w.stay(guest{
		odd{"manager", managed(t, map[string]string{
			"etc/network/interfaces":                 dhcpOnEth0,
			"etc/NetworkManager/NetworkManager.conf": "[main]\nplugins=keyfile\n",
		}), runs("networking", "NetworkManager")},
		[]string{
			"ifdown --force eth0; ifup eth0", "systemctl restart networking",
			"nmcli device set eth0 managed yes", "nmcli device connect eth0", "nmcli device disconnect eth0",
			"nmcli networking off", "nmcli networking on", "systemctl restart NetworkManager",
		},
	})
}

// systemd-networkd holds the interface of the root as it was given, whatever file an image
// has for all. udev 252 cannot rename what is up, as the files of Debian and of this image
// want it, and networkd would wait for that for ever.
func TestNetworkd(t *testing.T) {
	boottest.NeedLong(t, "debootstrap")
	w := newWorld(t, map[string]map[string]string{"waltplatform/pc-x86-64-default": {}})
	const waits = "; /lib/systemd/systemd-networkd-wait-online -i eth0 --timeout 0"
	w.stay(guest{
		odd{"networkd", managed(t, map[string]string{
			units + "NetworkManager.service":                           masked,
			units + "networking.service":                               masked,
			units + "multi-user.target.wants/systemd-networkd.service": "-> /lib/systemd/system/systemd-networkd.service",
			"etc/systemd/network/10-dhcp.network":                      "[Match]\nName=*\n[Network]\nDHCP=yes\n",
			"etc/systemd/network/10-all.link":                          "[Match]\nOriginalName=*\n[Link]\nNamePolicy=path\nMACAddressPolicy=random\nMTUBytes=1280\n",
		}), runs("systemd-networkd")},
		[]string{"systemctl restart systemd-networkd" + waits, "networkctl renew eth0" + waits, "networkctl reconfigure eth0" + waits},
	})
	// The image's file is read, and the one of the root's interface comes first.
	w.until("alice", "node run vm-networkd networkctl --no-pager status lo eth0 | sed -n 's/ *Network File: //p'",
		"/etc/systemd/network/10-dhcp.network\n/run/systemd/network/0-walt.network\n")
}
