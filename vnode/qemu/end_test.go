package qemu

import (
	"strings"
	"testing"
)

// Why a machine ended, from what QEMU says and what the machine wrote.
func TestEnding(t *testing.T) {
	t.Parallel()
	panicked := []byte("login: \r\n[    5.1] sysrq: Trigger a crash\r\n[    5.2] Kernel panic - not syncing: sysrq triggered crash\r\n[    5.3] CPU: 0\r\n")
	dead := []byte("[    5.2] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\r\n[    5.3] ---[ end Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100 ]---\r\n")
	for _, c := range []struct {
		what, reason, complaint string
		said                    []byte
		want                    ending
	}{
		{what: "reboot", reason: "guest-reset", want: ending{again: true}},
		{what: "poweroff", reason: "guest-shutdown", want: ending{}},
		{what: "panic", reason: "guest-reset", said: panicked, want: ending{again: true, crashed: true, why: "kernel panic: sysrq triggered crash"}},
		{
			what: "init", reason: "guest-reset", said: dead,
			want: ending{again: true, crashed: true, why: "its init ended (kernel panic: Attempted to kill init! exitcode=0x00000100)"},
		},
		{what: "poweroff after such words", reason: "guest-shutdown", said: panicked, want: ending{}},
		{
			what: "a long line", reason: "guest-reset", said: []byte("Kernel panic - not syncing: " + strings.Repeat("x", serialTail/2)),
			want: ending{again: true, crashed: true, why: "kernel panic: " + strings.Repeat("x", 500)},
		},
		{
			what: "words that steer a terminal", reason: "guest-reset", said: []byte("Kernel panic - not syncing: a\x1b[2J\x1b]0;b\a\u009bc\xff\x90 d\te\r\n"),
			want: ending{again: true, crashed: true, why: "kernel panic: a[2J]0;bc d e"},
		},
		{what: "crash of QEMU that steers a terminal", complaint: "\x1b[2Jout of memory", want: ending{why: powerCut + " ([2Jout of memory)"}},
		{what: "hang", reason: "guest-reset", said: []byte("walt: the shutdown hangs\r\n"), want: ending{again: true, why: hung}},
		{what: "hang at the end", reason: "guest-shutdown", said: []byte("walt: the shutdown hangs\r\n"), want: ending{why: hung}},
		{what: "hang that systemd ends", reason: "guest-reset", said: []byte("[\x1b[0;1;31m TIME \x1b[0m] Timed out starting \x1b[0;1;39mreboot.target\x1b[0m - System Reboot.\r\n"), want: ending{again: true, why: hung}},
		{what: "hang that an older one ends", reason: "guest-shutdown", said: []byte("[ TIME ] Timed out starting Power-Off.\r\n"), want: ending{why: hung}},
		{what: "another thing that timed out", reason: "guest-reset", said: []byte("[ TIME ] Timed out starting Network.\r\n"), want: ending{again: true}},
		{what: "kill", said: panicked[:10], want: ending{why: powerCut}},
		{what: "crash of QEMU", complaint: "out of memory", want: ending{why: powerCut + " (out of memory)"}},
		{what: "signal", reason: "host-signal", want: ending{why: "power cut: its process on the server was told to end"}},
		{what: "quit", reason: "host-qmp-quit", said: panicked, want: ending{why: "power cut: host-qmp-quit"}},
	} {
		if end := endingOf(c.reason, c.complaint, c.said); end != c.want {
			t.Errorf("%s: %+v, want %+v", c.what, end, c.want)
		}
	}
}
