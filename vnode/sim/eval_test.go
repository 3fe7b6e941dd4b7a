package sim

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"
)

// bareMachine is a machine without an SSH server.
func bareMachine(t testing.TB, files fstest.MapFS) *machine {
	t.Helper()
	now := func() time.Time { return noon }
	d, err := newDisk(files, now)
	if err != nil {
		t.Fatal(err)
	}
	return &machine{name: "rpi-1", disk: d, turn: &sync.Mutex{}, booted: noon, now: now, log: slog.New(slog.DiscardHandler)}
}

// sh runs a script on a machine as a session of its own.
func (m *machine) sh(ctx context.Context, script, stdin string, out, complaints io.Writer) (status int) {
	sh := m.newShell()
	sh.redirect(strings.NewReader(stdin), out, complaints)
	ctx, cancel := context.WithCancel(ctx)
	defer sh.all.Wait()
	defer cancel()
	sh.foreground(ctx, func(ctx context.Context) { sh.script(ctx, script) })
	return sh.status
}

func (m *machine) result(t testing.TB, script, stdin string) result {
	t.Helper()
	var out, complaints bytes.Buffer
	status := m.sh(t.Context(), script, stdin, &locked{w: &out}, &locked{w: &complaints})
	return result{out.String(), complaints.String(), status}
}

// locked is a writer for several shells.
type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func TestShell(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]result{
		"ls / | wc -l":                                                             {"7\n", "", 0},
		"yes | head -1":                                                            {"y\n", "", 0},
		"yes | head -n 2 | wc -c":                                                  {"4\n", "", 0},
		"x='a  b'; echo $x \"$x\" '$x' \\$x ${#x}":                                 {"a b a  b $x $x 4\n", "", 0},
		"x=a.tar.gz; echo ${x%.gz} ${x%%.*} ${x#*.}":                               {"a.tar a tar.gz\n", "", 0},
		"echo ${y:-no} ${y:=yes} $y; echo ${z?is missing}":                         {"no yes yes\n", "sh: z: is missing\n", 2},
		"echo $(echo a; echo b) `hostname`":                                        {"a b rpi-1\n", "", 0},
		"x=$(false); echo $?; x=1; echo $?":                                        {"1\n0\n", "", 0},
		"echo $((1 + 2 * 3)); x=4; x=$((x*x)); echo $x":                            {"7\n16\n", "", 0},
		"echo $((1/0)); echo no":                                                   {"", "sh: division by zero\n", 2},
		"for x in a b c; do echo $x; done | tail -n 1":                             {"c\n", "", 0},
		"i=0; while [ $i -lt 3 ]; do i=$((i+1)); done; echo $i":                    {"3\n", "", 0},
		"for i in 1 2 3; do [ $i = 2 ] && continue; echo $i; done":                 {"1\n3\n", "", 0},
		"for i in 1 2; do for j in 1 2; do break 2; done; echo no; done; echo end": {"end\n", "", 0},
		"if false; then echo a; elif true; then echo b; else echo c; fi":           {"b\n", "", 0},
		"false; if [ $? -eq 1 ]; then echo yes; fi":                                {"yes\n", "", 0},
		"case abc in x) echo 1;; a*|y) echo 2;; *) echo 3;; esac":                  {"2\n", "", 0},
		"f() { echo \"$1-$2 $#\"; return 3; }; f a b; echo $?":                     {"a-b 2\n3\n", "", 0},
		"set -- a 'b c'; for x; do echo $x; done; shift; echo $1":                  {"a\nb c\nb c\n", "", 0},
		"(cd /etc; pwd); pwd":                                                      {"/etc\n/root\n", "", 0},
		"! true; echo $?":                                                          {"1\n", "", 0},
		"cat <<E | wc -l\na\n$((1+1))\nE":                                          {"2\n", "", 0},
		"x=1; cat <<E\n$x\nE\ncat <<'E'\n$x\nE\n":                                  {"1\n$x\n", "", 0},
		"cat <<-E\n\ta\n\tE\n":                                                     {"a\n", "", 0},
		"echo a >&2":                                                               {"", "a\n", 0},
		"ls /nowhere 2>&1 | wc -l; ls /nowhere 2>/dev/null":                        {"1\n", "", 1},
		"printf 'a b\\nc d\\n' | while read x y; do echo $y$x; done":               {"ba\ndc\n", "", 0},
		"echo a; exit 4; echo b":                                                   {"a\n", "", 4},
		"set -e; false || echo a; if false; then :; fi; false; echo b":             {"a\n", "", 1},
		"set -u; echo $nothing":                                                    {"", "sh: nothing: unbound variable\n", 2},
		"echo /etc/* /nothing/*":                                                   {"/etc/hostname /etc/issue /nothing/*\n", "", 0},
		"echo ~ ~root ~alice {a,b}":                                                {"/root /root ~alice {a,b}\n", "", 0},
		"x=1 env | grep x=; echo $x.":                                              {"x=1\n.\n", "", 0},
		"export A=1; env | grep -c A":                                              {"3\n", "", 0},
		"readonly A=1; A=2; echo no":                                               {"", "sh: A: is read only\n", 2},
		"sleep 0 & wait; echo $?":                                                  {"0\n", "", 0},
		"(exit 3) & wait $!; echo $?":                                              {"3\n", "", 0},
		"eval 'x=1; echo $x'":                                                      {"1\n", "", 0},
		"sh -c 'echo $1' a b":                                                      {"b\n", "", 0},
		"/bin/hostname; /usr/bin/env true":                                         {"rpi-1\nHOME=/root\nLOGNAME=root\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\nSHELL=/bin/sh\nUSER=root\n", "", 0},
		"command -v ls nope; type cd":                                              {"ls\ncd is a shell builtin\n", "", 0},
		"/usr/bin/old":                                                             {"", "sh: /usr/bin/old: cannot execute: a simulated node runs scripts of sh only\n", 126},
		"/etc/issue":                                                               {"", "sh: /etc/issue: Permission denied\n", 126},
		"printf '%5d|%-3s|%x\\n' 42 a 255; printf '%s\\n' a b":                     {"   42|a  |ff\na\nb\n", "", 0},
		"printf '%1000000000d' 1":                                                  {"", "printf: %1000000000: too wide\n", 1},
		"echo -e 'a\\tb'":                                                          {"a\tb\n", "", 0},
		"seq 3 | sort -nr | head -1; seq 10 | tail -n 2 | tail -c 3":               {"3\n10\n", "", 0},
		"printf 'b\\na\\nb\\n' | sort -u":                                          {"a\nb\n", "", 0},
		"printf 'one\\ntwo\\n' | grep -n 'o\\{1\\}'; echo a+b | grep a+b; echo aab | grep -E 'a+b'": {"1:one\n2:two\na+b\naab\n", "", 0},
		"echo Abc | grep -ic abc; echo a | grep -q b; echo $?":                                      {"1\n1\n", "", 0},
		"wc /etc/issue /etc/hostname":                                                               {"        1         1         7 /etc/issue\n        1         1         6 /etc/hostname\n        2         2        13 total\n", "", 0},
		"basename /a/b.c .c; dirname /a/b.c":                                                        {"b\n/a\n", "", 0},
		"test -d /etc && [ -f /etc/issue ] && [ ! -e /x -a 1 -lt 2 ] && echo yes":                   {"yes\n", "", 0},
		"[ a = ; echo $?":                       {"2\n", "sh: [: missing ]\n", 0},
		"echo $$ $PPID $! .":                    {"1 1 .\n", "", 0},
		"cat <(echo a)":                         {"", "sh: syntax error: '<' must be followed by a word\n", 2},
		"echo a >&3":                            {"", "sh: 3: Bad file descriptor\n", 1},
		"exec 3>/tmp/x":                         {"", "sh: 3: Bad file descriptor\n", 1},
		"ulimit -n; trap 'echo a' EXIT; kill 1": {"", "sh: ulimit: command not found\nsh: trap: command not found\nsh: kill: command not found\n", 127},
	} {
		if got := bareMachine(t, debian()).result(t, script, ""); got != want {
			t.Errorf("%s\ngot  %+v\nwant %+v", script, got, want)
		}
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]result{
		"echo x > f; echo y >> f; cat f; wc -l < f":                                       {"x\ny\n2\n", "", 0},
		"echo z >> /etc/issue; cat /etc/issue; ls -l /etc/issue":                          {"Debian\nz\n-rw-r--r--    1 root     root             9 Nov 22 12:00 /etc/issue\n", "", 0},
		"echo a > /bin/new; ls /usr/bin":                                                  {"dangling\nnew\nold\npasswd\n", "", 0},
		"echo a > /bin/dangling; cat /usr/bin/nowhere":                                    {"a\n", "", 0},
		"mkdir -p /a/b/c; cd /a/b; touch x; ls; rmdir c; ls":                              {"c\nx\nx\n", "", 0},
		"mkdir /etc; mkdir /x/y; rmdir /etc":                                              {"", "mkdir: can't create directory '/etc': File exists\nmkdir: can't create directory '/x/y': No such file or directory\nrmdir: can't remove '/etc': Directory not empty\n", 1},
		"rm -r /etc; ls /; mkdir /etc; ls /etc":                                           {"bin\ndev\nhome\nroot\ntmp\nusr\n", "", 0},
		"rm /etc; rm nothing; rm -f nothing":                                              {"", "rm: can't remove '/etc': Is a directory\nrm: can't remove 'nothing': No such file or directory\n", 0},
		"mv /etc /opt; cat /opt/issue; ls /; mv /opt/issue /root; cat issue":              {"Debian\nbin\ndev\nhome\nopt\nroot\ntmp\nusr\nDebian\n", "", 0},
		"mkdir a; mv a a/b; mv /usr /usr/bin; mv / /tmp/x":                                {"", "mv: can't rename 'a': Invalid argument\nmv: can't rename '/usr': Invalid argument\nmv: can't rename '/': Device or resource busy\n", 1},
		"mkdir a; ln -s a l; echo x > l/f; cat a/f; ln -s ../../../../etc e; cat e/issue": {"x\nDebian\n", "", 0},
		"ln -s l l; cat l": {"", "cat: can't open 'l': Symbolic link loop\n", 1},
		"cp /etc/issue .; cp -r /usr /tmp; ls -l /tmp/usr/bin; cat issue":                  {"total 16\nlrwxrwxrwx    1 root     root             7 Nov 22 12:00 dangling -> nowhere\n-rwxr-xr-x    1 root     root         12345 Nov 22 12:00 old\n-rwxr-xr-x    1 root     root             0 Nov 22 12:00 passwd\nDebian\n", "", 0},
		"cp issue; cp -r /etc /etc; cp /etc /tmp":                                          {"", "cp: missing operand\ncp: can't copy '/etc': Invalid argument\ncp: can't copy '/etc': Is a directory\n", 1},
		"printf '#!/bin/sh\\necho $0 $1\\n' > s; ./s; chmod +x s; ./s 1; chmod 644 s; ./s": {"sh 1\n", "sh: ./s: Permission denied\nsh: ./s: Permission denied\n", 126},
		"echo 'x=$1' > lib; . ./lib; echo $x.; . nothing; echo no":                         {".\nno\n", "sh: .: can't open 'nothing': No such file or directory\n", 0},
		"echo a | tee f g; cat f g":                                                        {"a\na\na\n", "", 0},
		"echo a > /dev/null; echo a > /nowhere/b; echo a > /etc":                           {"", "sh: can't create /nowhere/b: No such file or directory\nsh: can't create /etc: Is a directory\n", 1},
		"head -c 5000 /dev/zero > f; tail -c 3 f | wc -c; wc -c < f":                       {"3\n5000\n", "", 0},
		"echo a > f; { rm f; echo b; cat f; } > f":                                         {"", "cat: can't open 'f': No such file or directory\n", 1},
	} {
		got := bareMachine(t, debian()).result(t, script, "")
		got.err = strings.ReplaceAll(got.err, "Too many levels of symbolic links", "Symbolic link loop")
		if got != want {
			t.Errorf("%s\ngot  %+v\nwant %+v", script, got, want)
		}
	}
}
