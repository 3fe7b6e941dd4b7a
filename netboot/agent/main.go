//go:build linux

// The agent is the one program of ours that runs on machines that boot over the
// network. As /init of the initramfs it is process 1 until there is a root: it loads
// drivers, asks for its instructions, makes the root and runs the image's init. Beside
// that it goes on as @walt-agent, which holds a connection to the server. Where there
// is no init it stays process 1. Its one surprising rule: once the root is made, it
// reads nothing from there any more, so that it goes on, and can reset the machine,
// when the network under the root is gone.
package main

import (
	"fmt"
	"os"
	"path"
)

// The names under which the program runs, beside /init.
const (
	agentName    = "@walt-agent" // systemd leaves what begins with @ alone when it ends processes
	stayName     = "walt-init"
	modprobeName = "modprobe"
)

func main() {
	switch name := path.Base(os.Args[0]); {
	case len(os.Args) == 2 && os.Args[1] == sftpWord && os.Getpid() != 1:
		serveFiles()
	case name == modprobeName:
		os.Exit(modprobe(os.Args[1:]))
	case name == agentName:
		runAgent()
	case name == stayName && os.Getpid() == 1:
		stay()
	case os.Getpid() == 1:
		boot()
	default:
		fmt.Fprintln(os.Stderr, "walt's agent is run by the kernel of a machine that boots, as /init")
		os.Exit(2)
	}
}
