package machines

import (
	"testing"

	"walt/netboot/boottest"
)

// cloud-init does what an image has for it, and leaves the network to the root, also when
// it is run again; in an image that has nothing for it, it does not run.
func TestCloudInit(t *testing.T) {
	boottest.NeedLong(t, "debootstrap")
	w := newWorld(t, map[string]map[string]string{"waltplatform/pc-x86-64-default": {}})
	layers := with(t,
		debianLayers(t, "systemd-sysv", "libpam-systemd", "openssh-server", "ifupdown", "isc-dhcp-client", "iproute2", "dbus", "procps", "udev", "kmod", "cloud-init"),
		map[string]string{
			units + "serial-getty@ttyS0.service": masked,
			// As Debian has it, but for modules that take minutes here and touch nothing of ours.
			"etc/cloud/cloud.cfg": "disable_root: true\ncloud_init_modules: [write-files, set_hostname, update_etc_hosts, ssh]\nssh_genkeytypes: [ed25519]\ncloud_config_modules: []\ncloud_final_modules: []\nsystem_info:\n  distro: debian\n",
		})
	const seed = "var/lib/cloud/seed/nocloud/"
	seeded := runs()
	seeded["cloud-init status; cat /root/seeded; ls /etc/network/interfaces.d"] = "status: done\nit was here\n"
	bare := odd{"bare", layers, runs()}
	bare.is["cloud-init status; systemctl is-active cloud-init-local cloud-init cloud-final; true"] = "status: disabled\ninactive\ninactive\ninactive\n"
	w.stay(guest{odd: bare}, guest{
		odd{"seeded", with(t, layers, map[string]string{
			seed + "meta-data": "instance-id: one\n",
			seed + "user-data": "#cloud-config\nwrite_files:\n- path: /root/seeded\n  content: |\n    it was here\n",
		}), seeded},
		[]string{"cloud-init clean; cloud-init init --local; cloud-init init", "systemctl restart networking"},
	})
}
