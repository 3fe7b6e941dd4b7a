package sim

import (
	"bytes"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/images/content"
)

// noon is when the nodes of these tests boot.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func debian() fstest.MapFS {
	at := noon.AddDate(0, -1, 0)
	return fstest.MapFS{
		"bin":              {Mode: fs.ModeSymlink | 0o777, Data: []byte("usr/bin"), ModTime: at},
		"dev":              {Mode: fs.ModeDir | 0o755, ModTime: at},
		"dev/null":         {Mode: fs.ModeDevice | fs.ModeCharDevice | 0o666, ModTime: at, Sys: content.Attr{Major: 1, Minor: 3}},
		"dev/sda":          {Mode: fs.ModeDevice | 0o660, ModTime: at, Sys: content.Attr{Major: 8}},
		"etc":              {Mode: fs.ModeDir | 0o755, ModTime: at},
		"etc/hostname":     {Mode: 0o644, Data: []byte("image\n"), ModTime: at},
		"etc/issue":        {Mode: 0o644, Data: []byte("Debian\n"), ModTime: at},
		"etc/.pwd.lock":    {Mode: 0o600, ModTime: at},
		"home/pi/a b":      {Mode: 0o640, ModTime: at, Sys: content.Attr{UID: 1000, GID: 44}},
		"root":             {Mode: fs.ModeDir | 0o700, ModTime: at},
		"root/.profile":    {Mode: 0o644, ModTime: at},
		"tmp":              {Mode: fs.ModeDir | fs.ModeSticky | 0o777, ModTime: at},
		"usr":              {Mode: fs.ModeDir | 0o755, ModTime: at},
		"usr/bin":          {Mode: fs.ModeDir | 0o755, ModTime: at},
		"usr/bin/dangling": {Mode: fs.ModeSymlink | 0o777, Data: []byte("nowhere"), ModTime: at},
		"usr/bin/old":      {Mode: 0o755, Data: make([]byte, 12345), ModTime: time.Date(2019, 3, 5, 1, 2, 3, 0, time.UTC)},
		"usr/bin/passwd":   {Mode: fs.ModeSetuid | 0o755, ModTime: at},
	}
}

// debianNode logs in to a node that runs debian.
func debianNode(t *testing.T) (*lab, *ssh.Client) {
	l := newLab(t, shelf{"one": debian()})
	l.sim.Now = func() time.Time { return noon }
	return l, l.login(t, l.boot(t, "rpi-1"))
}

func TestCommands(t *testing.T) {
	t.Parallel()
	_, c := debianNode(t)
	for command, want := range map[string]result{
		"hostname":                             {"rpi-1\n", "", 0},
		"whoami":                               {"root\n", "", 0},
		"id":                                   {"uid=0(root) gid=0(root) groups=0(root)\n", "", 0},
		"uname":                                {"Linux\n", "", 0},
		"uname -a":                             {"Linux rpi-1 0.0.0-simulated #1 simulated GNU/Linux\n", "", 0},
		"uname -nr":                            {"rpi-1 0.0.0-simulated\n", "", 0},
		"uname -x":                             {"", "uname: invalid option -- 'x'\n", 1},
		"uptime":                               {" 12:00:00 up 0 min,  load average: 0.00, 0.00, 0.00\n", "", 0},
		"pwd":                                  {"/root\n", "", 0},
		"cd / && pwd; cd etc; pwd; cd; pwd":    {"/\n/etc\n/root\n", "", 0},
		"cd ../bin/../etc; cat issue":          {"Debian\n", "", 0},
		"cd /nowhere":                          {"", "sh: cd: can't cd to /nowhere: No such file or directory\n", 1},
		"cd /etc/issue":                        {"", "sh: cd: can't cd to /etc/issue: Not a directory\n", 1},
		"echo":                                 {"\n", "", 0},
		"echo -n a  'b  c' \"d\\\"\" e\\ f":    {"a b  c d\" e f", "", 0},
		"true":                                 {"", "", 0},
		"false":                                {"", "", 1},
		"false; true":                          {"", "", 0},
		"false && echo no || echo yes":         {"yes\n", "", 0},
		"exit 3; echo no":                      {"", "", 3},
		"exit 259":                             {"", "", 3},
		"false; exit":                          {"", "", 1},
		"exit x":                               {"", "sh: exit: Illegal number: x\n", 2},
		"cat /etc/hostname ../etc/issue":       {"image\nDebian\n", "", 0},
		"cat nowhere /etc/issue":               {"Debian\n", "cat: can't open 'nowhere': No such file or directory\n", 1},
		"cat /etc":                             {"", "cat: can't open '/etc': Is a directory\n", 1},
		"cat /dev/null":                        {"", "", 0},
		"cat /dev/sda":                         {"", "cat: can't open '/dev/sda': No such device or address\n", 1},
		"cat ../../../../etc/issue":            {"Debian\n", "", 0},
		"sleep 0 0.001 1ms":                    {"", "", 0},
		"sleep soon":                           {"", "sleep: invalid number 'soon'\n", 1},
		"sleep":                                {"", "sleep: missing operand\n", 1},
		"python3 -c 1":                         {"", "sh: python3: command not found\n", 127},
		"./x || echo $":                        {"$\n", "sh: ./x: command not found\n", 0},
		"rm -rf /":                             {"", "rm: can't remove '/': Device or resource busy\n", 1},
		"echo 'x":                              {"", "sh: syntax error: reached EOF without closing quote '''\n", 2},
		"cat /etc/issue | cat":                 {"Debian\n", "", 0},
		"ls /":                                 {"bin\ndev\netc\nhome\nroot\ntmp\nusr\n", "", 0},
		"ls":                                   {"", "", 0},
		"ls -a":                                {".\n..\n.profile\n", "", 0},
		"ls /bin":                              {"dangling\nold\npasswd\n", "", 0},
		"ls /bin/dangling /etc /nowhere /home": {"/bin/dangling\n\n/etc:\nhostname\nissue\n\n/home:\npi\n", "ls: /nowhere: No such file or directory\n", 1},
		"ls -z":                                {"", "ls: invalid option -- 'z'\n", 1},
		"ls -l /bin":                           {"lrwxrwxrwx    1 root     root             7 Oct 22 12:00 /bin -> usr/bin\n", "", 0},
		"ls -l /bin/": {`total 16
lrwxrwxrwx    1 root     root             7 Oct 22 12:00 dangling -> nowhere
-rwxr-xr-x    1 root     root         12345 Mar  5  2019 old
-rwsr-xr-x    1 root     root             0 Oct 22 12:00 passwd
`, "", 0},
		"ls -1l /dev /home/pi": {`/dev:
total 0
crw-rw-rw-    1 root     root        1,   3 Oct 22 12:00 null
brw-rw----    1 root     root        8,   0 Oct 22 12:00 sda

/home/pi:
total 0
-rw-r-----    1 1000     44               0 Oct 22 12:00 a b
`, "", 0},
		"ls -la /tmp": {`total 0
drwxrwxrwt    1 root     root             0 Oct 22 12:00 .
dr-xr-xr-x    1 root     root             0 Jan  1  0001 ..
`, "", 0},
	} {
		if got := run(t, c, command, ""); got != want {
			t.Errorf("%s\ngot  %+v\nwant %+v", command, got, want)
		}
	}
	if r := run(t, c, "cat", "of the\ninput"); r != (result{"of the\ninput", "", 0}) {
		t.Errorf("cat: %+v", r)
	}
}

func TestHelpListsTheCommands(t *testing.T) {
	t.Parallel()
	_, names, _ := strings.Cut(helpText, "instead:\n")
	for _, name := range strings.FieldsFunc(names, func(r rune) bool { return strings.ContainsRune(" ,\n", r) }) {
		if name != "and" && program(name) == nil && builtin(name) == nil {
			t.Errorf("there is no %s", name)
		}
	}
}

func TestScript(t *testing.T) {
	t.Parallel()
	_, c := debianNode(t)
	long := "echo " + strings.Repeat("x", longest)
	r := run(t, c, "", "cd /etc\n# a remark\n\n  pwd # another\n)\n"+long+"\ncat\ncat takes this\nand this")
	want := result{"/etc\ncat takes this\nand this", "sh: syntax error: ')' can only be used to close a subshell\nsh: line too long\n", 0}
	if r != want {
		t.Errorf("got  %+v\nwant %+v", r, want)
	}
	if r := run(t, c, "", "exit 7\necho no\n"); r != (result{"", "", 7}) {
		t.Errorf("exit: %+v", r)
	}
	if r := run(t, c, "", "false"); r != (result{"", "", 1}) {
		t.Errorf("without the end of the line: %+v", r)
	}
}

// terminal is a shell on a terminal: what is typed, and what is seen.
type terminal struct {
	t   *testing.T
	s   *ssh.Session
	in  io.Writer
	out io.Reader
}

func newTerminal(t *testing.T, c *ssh.Client, command string) *terminal {
	s, in, out := open(t, c, command, true)
	return &terminal{t: t, s: s, in: in, out: out}
}

// see types keys and reads until all that the screen gets is want.
func (x *terminal) see(keys, want string) {
	x.t.Helper()
	if _, err := io.WriteString(x.in, keys); err != nil {
		x.t.Fatal(err)
	}
	buf := make([]byte, len(want))
	n, err := io.ReadFull(x.out, buf)
	if got := string(buf[:n]); got != want {
		x.t.Fatalf("typed %q\nsaw  %q\nwant %q (%v)", keys, got, want, err)
	}
}

func TestTerminal(t *testing.T) {
	t.Parallel()
	_, c := debianNode(t)
	const prompt = "root@rpi-1:/root# "
	x := newTerminal(t, c, "")
	x.see("", prompt)
	x.see("hostname\r", "hostname\r\nrpi-1\r\n"+prompt)
	x.see("hostx\x7fname\r", "hostx\b \bname\r\nrpi-1\r\n"+prompt)
	x.see("\x7fé\x7fecho é\r", "é\b \becho é\r\né\r\n"+prompt)
	x.see("nö\x15pwd\r", "nö\b \b\b \bpwd\r\n/root\r\n"+prompt)
	x.see("世\x7fe\u0301\x7fé👍x\x7f\x15pwd\r", "世\b \b\b \be\u0301\b \bé👍x\b \b\b \b\b \b\b \bpwd\r\n/root\r\n"+prompt)
	x.see("\x1b[A\x1b[1;5C\x1bOP\tpwd\r", "pwd\r\n/root\r\n"+prompt)
	x.see("nope\r", "nope\r\nsh: nope: command not found\r\n"+prompt)
	x.see("half a line\x03", "half a line^C\r\n"+prompt)
	x.see("sleep 1000; echo no\r", "sleep 1000; echo no\r\n")
	if err := x.s.WindowChange(50, 100); err != nil {
		t.Fatal(err)
	}
	for range 200 { // more than the library keeps
		if err := x.s.Signal(ssh.SIGUSR1); err != nil {
			t.Fatal(err)
		}
	}
	x.see("\x03", "^C\r\n"+prompt)
	x.see("cat\r", "cat\r\n")
	x.see("echoed\r", "echoed\r\nechoed\r\n")
	x.see("no line\x04", "no lineno line")
	x.see("\x04", prompt)
	x.see("cat\r", "cat\r\n")
	x.see("\x03", "^C\r\n"+prompt)
	x.see(strings.Repeat("x", widest+1)+"\x15", strings.Repeat("x", widest)+"\a"+strings.Repeat("\b \b", widest))
	x.see("false\r", "false\r\n"+prompt)
	x.see("\x04", "\r\n")
	if got := status(x.s.Wait()); got != 1 {
		t.Errorf("status %d, want that of false", got)
	}

	x = newTerminal(t, c, "echo begun; sleep 1000")
	x.see("", "begun\r\n")
	x.see("\x03", "^C\r\n")
	if got := status(x.s.Wait()); got != statusInterrupted {
		t.Errorf("status %d, want %d", got, statusInterrupted)
	}
}

// Lines that are typed ahead of a command that does not read them are bounded.
func TestTypeAhead(t *testing.T) {
	t.Parallel()
	tty := newTTY(&bytes.Buffer{})
	tty.typed(bytes.Repeat([]byte{'\n', ctrlD}, ahead))
	if len(tty.lines) > ahead {
		t.Errorf("%d lines are kept", len(tty.lines))
	}
	tty.typed([]byte{ctrlC})
	if len(tty.lines) > 0 {
		t.Error("Ctrl-C keeps what was typed ahead")
	}
}

func TestUptime(t *testing.T) {
	t.Parallel()
	for up, want := range map[time.Duration]string{
		59 * time.Second:              " 12:00:59 up 0 min,  load average: 0.00, 0.00, 0.00\n",
		3*time.Hour + 5*time.Minute:   " 15:05:00 up  3:05,  load average: 0.00, 0.00, 0.00\n",
		24 * time.Hour:                " 12:00:00 up 1 day, 0 min,  load average: 0.00, 0.00, 0.00\n",
		75*time.Hour + 10*time.Minute: " 15:10:00 up 3 days,  3:10,  load average: 0.00, 0.00, 0.00\n",
	} {
		sh := &shell{node: &machine{booted: noon, now: func() time.Time { return noon.Add(up) }}}
		if got := sh.uptime(); got != want {
			t.Errorf("up for %v: %q, want %q", up, got, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	if got := printable("né\x1b[2J\u202e"); got != "né?[2J?" {
		t.Errorf("%q", got)
	}
}
