//go:build linux

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"walt/netboot/instructions"
)

// rescueHelp is what the console of a machine without a shell understands.
const rescueHelp = `log       shows what this boot did
dmesg     shows the kernel's messages
mounts    shows the file systems that are mounted
modules   shows the modules that are loaded
network   shows the interfaces and their addresses
continue  goes on with the boot, where it was stopped on purpose
reboot    starts the machine anew
poweroff  switches it off
exit      leaves
`

// console serves a client where there is no shell to run. Without a command it shows
// the log and reads words; the client's own terminal edits the lines.
func (s *session) console(args []string) {
	out := crlf{s.channel, s.master != nil}
	if s.slave != nil {
		s.slave.Close() // lines are read from the channel
	}
	if args != nil {
		s.end(s.say(out, strings.TrimSpace(args[1])), "")
		return
	}
	fmt.Fprintf(out, "%s\n%s\nThis is no shell of the image: type help.\n", s.m.log, s.why())
	for in := bufio.NewReader(s.channel); ; {
		io.WriteString(out, "> ")
		line, err := readLine(in, out)
		if err != nil || line == "exit" {
			s.end(0, "")
			return
		}
		if s.say(out, line) == 0 && line == "continue" {
			s.end(0, "")
			return
		}
	}
}

// why says why this is no shell.
func (s *session) why() string {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	switch {
	case s.m.failed != "":
		return "The boot has failed: " + s.m.failed
	case os.Getpid() == 1 && s.m.in.Rescue:
		return "The root is not mounted yet: the boot stopped on purpose (boot.rescue=on), and goes on after: continue"
	case os.Getpid() == 1:
		return "The root is not mounted yet."
	}
	return "The image has no shell."
}

// say follows a word, and returns an exit status.
func (s *session) say(out io.Writer, word string) int {
	show := func(name string) int {
		b, err := os.ReadFile(name)
		if err != nil {
			fmt.Fprintln(out, err)
			return 1
		}
		out.Write(b)
		return 0
	}
	switch word {
	case "":
	case "help":
		io.WriteString(out, rescueHelp)
	case "network":
		showNetwork(out)
	case "log":
		io.WriteString(out, s.m.log.String())
	case "dmesg":
		io.WriteString(out, kernelMessages())
	case "mounts":
		return show("/proc/mounts")
	case "modules":
		return show("/proc/modules")
	case "continue":
		if os.Getpid() != 1 || !s.m.in.Rescue {
			fmt.Fprintln(out, "The boot has not stopped on purpose.")
			return 1
		}
		fmt.Fprintln(out, "The boot goes on.")
		s.m.once.Do(func() { close(s.m.resume) })
	case instructions.Reboot, instructions.Poweroff:
		s.m.orders.power(word)
	default:
		fmt.Fprintf(out, "%s\nThere is no command %q here; there are:\n%s", s.why(), word, rescueHelp)
		return 127
	}
	return 0
}

// showNetwork shows the interfaces and their addresses.
func showNetwork(out io.Writer) {
	all, err := net.Interfaces()
	if err != nil {
		fmt.Fprintln(out, err)
	}
	for _, i := range all {
		addrs, _ := i.Addrs() // one without has none to show
		fmt.Fprintln(out, i.Name, i.HardwareAddr, i.Flags, addrs)
	}
}

// readLine reads a line, and shows what is typed on a terminal that sends each key.
func readLine(in *bufio.Reader, out crlf) (string, error) {
	var line []byte
	for len(line) < 256 {
		c, err := in.ReadByte()
		if err != nil {
			return "", err
		}
		switch {
		case c == '\r' || c == '\n':
			if out.raw {
				io.WriteString(out, "\n")
			}
			return strings.TrimSpace(string(line)), nil
		case c == 3 || c == 4 && len(line) == 0:
			return "exit", nil
		case c == 127 || c == 8:
			if len(line) > 0 {
				line = line[:len(line)-1]
				if out.raw {
					io.WriteString(out.w, "\b \b")
				}
			}
		case c >= ' ' && c < 127:
			line = append(line, c)
			if out.raw {
				out.w.Write([]byte{c})
			}
		}
	}
	return string(line), nil
}

// crlf writes lines as a raw terminal wants them.
type crlf struct {
	w   io.Writer
	raw bool
}

func (c crlf) Write(p []byte) (int, error) {
	if !c.raw {
		return c.w.Write(p)
	}
	if _, err := io.WriteString(c.w, strings.ReplaceAll(string(p), "\n", "\r\n")); err != nil {
		return 0, err
	}
	return len(p), nil
}
