package initrd

import (
	"strings"
	"testing"
)

// arm is a kernel image for arm.
var arm = strings.Repeat("\x00", 0x24) + "\x18\x28\x6f\x01" + strings.Repeat("\x00", 64)

// withModules are files with a directory of modules for each version.
func withModules(files map[string]string, versions ...string) map[string]string {
	for _, v := range versions {
		files["lib/modules/"+v+"/modules.dep"] = ""
		files["lib/modules/"+v+"/modules.builtin"] = ""
	}
	return files
}

// Of the kernels of Raspberry Pi OS each board gets one that it runs, with its modules.
func TestKernelsOfRaspberryPis(t *testing.T) {
	t.Parallel()
	const both = "arm64 arm"
	named := func(versions ...string) map[string]string {
		files := map[string]string{}
		for _, v := range versions {
			files["boot/vmlinuz-"+v] = arm
			if strings.HasSuffix(v, "-v8") || strings.HasSuffix(v, "-2712") {
				files["boot/vmlinuz-"+v] = zipped(t, asGzip, arm64)
			}
		}
		return withModules(files, versions...)
	}
	today := func(config string) map[string]string {
		const v = "6.6.31+rpt-rpi-"
		files := named(v+"v6", v+"v7", v+"v7l", v+"v8", "6.6.51+rpt-rpi-2712", v+"2712")
		if config != "" {
			files["boot/firmware/config.txt"] = config
		}
		return files
	}
	before := withModules(map[string]string{
		"boot/kernel.img": arm, "boot/kernel7.img": arm, "boot/kernel7l.img": arm, "boot/kernel8.img": zipped(t, asGzip, arm64),
	}, "6.1.21+", "6.1.21-v7+", "6.1.21-v7l+", "6.1.21-v8+")
	const narrow = "dtparam=audio=on\n[pi4]\narm_64bit=1\n"
	for _, c := range []struct {
		what               string
		files              map[string]string
		model, archs, want string
	}{
		{"now", today(""), "rpi-zero-w", "arm", "boot/vmlinuz-6.6.31+rpt-rpi-v6"},
		{"now", today(""), "rpi-2-b", "arm", "boot/vmlinuz-6.6.31+rpt-rpi-v7"},
		{"now", today(""), "rpi-3-b-plus", both, "boot/vmlinuz-6.6.31+rpt-rpi-v8"},
		{"now", today(""), "rpi-4-b", both, "boot/vmlinuz-6.6.31+rpt-rpi-v8"},
		{"now", today(""), "rpi-400", "arm", "boot/vmlinuz-6.6.31+rpt-rpi-v7l"},
		{"now", today(""), "rpi-5-b", both, "boot/vmlinuz-6.6.51+rpt-rpi-2712"},
		{"now", today(""), "rpi-zero-2-w", "arm", "boot/vmlinuz-6.6.31+rpt-rpi-v7"},
		{"of 32 bits on a 3", today(narrow), "rpi-3-b", both, "boot/vmlinuz-6.6.31+rpt-rpi-v7"},
		{"of 64 bits on a 4", today(narrow), "rpi-4-b", both, "boot/vmlinuz-6.6.31+rpt-rpi-v8"},
		{"of 64 bits on all", today(narrow + "[all]\narm_64bit=1\n"), "rpi-3-b", both, "boot/vmlinuz-6.6.31+rpt-rpi-v8"},
		{"of 32 bits on a 4", today("arm_64bit=0"), "rpi-4-b", both, "boot/vmlinuz-6.6.31+rpt-rpi-v7l"},
		{"without the better one", named("6.6.31+rpt-rpi-v8"), "rpi-5-b", both, "boot/vmlinuz-6.6.31+rpt-rpi-v8"},
		{"before", before, "rpi-b-plus", "arm", "boot/kernel.img 6.1.21+"},
		{"before", before, "rpi-3-b", "arm", "boot/kernel7.img 6.1.21-v7+"},
		{"before", before, "rpi-4-b", "arm", "boot/kernel7l.img 6.1.21-v7l+"},
		{"before", before, "rpi-4-b", both, "boot/kernel8.img 6.1.21-v8+"},
		{"for another board", named("6.6.31+rpt-rpi-2712"), "rpi-4-b", both, "the kernel /boot/vmlinuz-6.6.31+rpt-rpi-2712 is not for boards of the model rpi-4-b"},
		{"for any board", named("6.1.0-21-armmp"), "rpi-3-b", both, "boot/vmlinuz-6.1.0-21-armmp"},
		{"of a board that nobody knows", today(""), "rpi-6-b", both, "boot/vmlinuz-6.6.51+rpt-rpi-2712"},
	} {
		p, err := Inspect(strings.Fields(c.archs), c.model, tree(c.files), nil)
		got := ""
		switch {
		case err != nil && !Unfit(err):
			t.Fatal(err)
		case err != nil:
			got = err.Error()
		case strings.HasSuffix(p.Kernel, "-"+p.Version):
			got = p.Kernel
		default:
			got = p.Kernel + " " + p.Version
		}
		if got != c.want {
			t.Errorf("%s, on %s with %s: %s, want %s", c.what, c.model, c.archs, got, c.want)
		}
		if err == nil && p.OfModel != (c.model != "rpi-6-b" && c.what != "for any board") {
			t.Errorf("%s, on %s: it is said to be of the model: %v", c.what, c.model, p.OfModel)
		}
		if err == nil && strings.Contains(got, "-") && p.dir == "" {
			t.Errorf("%s, on %s: %s has no modules", c.what, c.model, got)
		}
	}
}
