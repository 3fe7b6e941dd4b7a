package sim

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"
)

// slack is how much longer than expected something may take, on a busy computer
// that looks for races.
const slack = time.Minute

// TestLimits runs what would eat a computer. Each has to end by itself, or when
// it is interrupted, and take little memory.
func TestLimits(t *testing.T) { // not parallel: it looks at all goroutines
	many := fstest.MapFS{"loop": {Mode: os.ModeSymlink, Data: []byte(".")}}
	for i := range 500 {
		many[fmt.Sprintf("d/file-with-a-long-name-%d", i)] = &fstest.MapFile{}
	}
	for i := range 30 {
		many[fmt.Sprintf("up%d", i)] = &fstest.MapFile{Mode: os.ModeSymlink, Data: []byte(".")}
	}
	const full = "head -c 66900000 /dev/zero > /big; "
	before := goleak.IgnoreCurrent()
	for script, complaint := range map[string]string{
		"while :; do x=$x${x}aaaaaaaa; done":                          "x: value too long",
		"while :; do eval x$i=aaaaaaaaaaaaaaaaaaaa; i=$((i+1)); done": "value too long",
		"f() { f; }; f":                                     "too deep",
		"x='eval \"$x\"'; eval \"$x\"":                      "too deep",
		"f() { f | f; }; f":                                 "sh: ",
		"f() { f | f & }; f; while : | :; do :; done":       "can't fork",
		"f() { x=$(f); }; f":                                "too deep",
		"echo '. /f' > /f; . /f":                            "too deep",
		"echo 'sh /f' > /f; sh /f":                          "too deep",
		"f() { sh -c 'f() { command eval f; }; f'; f; }; f": "too deep",
		strings.Repeat("(", 2100):                           "script too long",
		strings.Repeat("(", 1900):                           "syntax error",
		strings.Repeat("if ", 20_000):                       "syntax error",
		strings.Repeat("$((", 700):                          "syntax error",
		"(" + strings.Repeat("(", 1000) + "echo" + strings.Repeat(")", 1001): "too deep",
		"true" + strings.Repeat("|true", 2000):                               "can't fork",
		"x=$(yes)":                                                           "too long",
		"x=$(cat /dev/zero)":                                                 "too long",
		"read x < /dev/zero":                                                 "",
		"x=aaaaaaaa; " + strings.Repeat("x=$x$x;", 12) + "echo " + strings.Repeat("$x", 2000): "too long",
		"echo {1..999999999} | wc -c":                                          "",
		"printf '%999999999d' 1":                                               "too wide",
		"printf " + strings.Repeat("%4000d", 10_000) + " | wc -c":              "",
		"echo /*/*/*/*/*/*/*/*/*/*":                                            "too many files",
		"echo /d/*-" + strings.Repeat("*1", 4000):                              "too many files",
		"set -- a; while :; do set -- \"$@\" \"$@\"; done":                     "too long",
		"i=0; while :; do i=$((i+1)); eval \"f$i() { :; }\"; done":             "too many functions",
		"cat /dev/zero > /f":                                                   "No space left",
		"yes | sort":                                                           "Cannot allocate memory",
		"yes | tail -n 100000000":                                              "Cannot allocate memory",
		"cat /dev/zero | tee /f > /dev/null":                                   "No space left",
		"while :; do mkdir d; cd d; done 2>&1 | head -1":                       "",
		full + "i=0; while mkdir /d/$i; do i=$((i+1)); done":                   "No space left",
		full + "while ln -s /a/$i$i$i /d/$i; do i=$((i+1)); done":              "No space left",
		full + "while touch /d/$i; do i=$((i+1)); done":                        "No space left",
		full + "while rm /d/file-with-a-long-name-$((i)); do i=$((i+1)); done": "No space left",
		"seq 2000000000 | grep -c 'x*x*x*x*y'":                                 "interrupted",
		"while :; do :; done":                                                  "interrupted",
		"until false; do :; done":                                              "interrupted",
		"while :; do sleep 0 & done":                                           "",
		"yes & yes > /dev/null & cat":                                          "",
		"cat | cat":                                                            "",
		"sleep 1000 | sleep 1000":                                              "interrupted",
		"cat /dev/zero > /dev/null":                                            "interrupted",
		"x=aaaaaaaa; " + strings.Repeat("x=$x$x;", 9) + "while :; do y=${x%%*a*a*a*a*b}; done":        "interrupted",
		"case " + strings.Repeat("a", 30_000) + " in " + strings.Repeat("*a", 15_000) + "b) :;; esac": "pattern is too long",
		"echo $((x++" + strings.Repeat("+x++", 5000) + "))":                                           "",
		"x=y; y=x; echo $((x))": "",
		"echo $((1 << -1)) $((-9223372036854775807 - 2)) $((1 >> 99999))":              "",
		"x=$((2**63)); echo ${x:=${y:=${z:?}}}":                                        "",
		"echo ${LINENO} ${1} ${99999999999999999999} ${@} ${*#a} ${#*}":                "",
		"test " + strings.Repeat("! ", 600) + "a; test " + strings.Repeat("\\( ", 600): "argument expected",
		"grep " + strings.Repeat("a*", 5000) + " /d/x":                                 "pattern is too long",
		"grep -E 'a{1000}{1000}' /d/x":                                                 "bad pattern",
	} {
		m := bareMachine(t, many)
		wait := 3 * time.Minute // they end by themselves, on a busy machine too
		if complaint == "interrupted" || complaint == "" {
			wait = 50 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		var out, complaints counter
		begun := time.Now()
		var used, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&used)
		status := m.sh(ctx, script, "", &out, &complaints)
		runtime.ReadMemStats(&after)
		interrupted := ctx.Err() != nil
		cancel()
		name := script[:min(len(script), 80)]
		if took := time.Since(begun); took > wait+slack {
			t.Errorf("%s: it took %v", name, took)
		}
		if mem := int64(after.Sys - used.Sys); mem > 300<<20 {
			t.Errorf("%s: it took %d MiB", name, mem>>20)
		}
		switch {
		case complaint == "interrupted" && (!interrupted || status != statusInterrupted):
			t.Errorf("%s: it ended by itself: %s, status %d", name, complaints.text, status)
		case complaint != "interrupted" && !strings.Contains(complaints.text, complaint):
			t.Errorf("%s: it complains %q, status %d, not %q", name, complaints.text, status, complaint)
		case strings.Contains(complaints.text, "internal error"):
			t.Errorf("%s: status %d: %s", name, status, complaints.text)
		}
		if n := m.processes.Load(); n != 0 {
			t.Errorf("%s: %d processes are left", name, n)
		}
	}
	goleak.VerifyNone(t, before)
}

// Jobs that have ended are not kept for ever.
func TestJobsAreForgotten(t *testing.T) {
	t.Parallel()
	sh := bareMachine(t, debian()).newShell()
	sh.redirect(strings.NewReader(""), io.Discard, io.Discard)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { // ends with the test
		for int(sh.node.pid.Load()) < 3*processLimit && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	sh.foreground(ctx, func(ctx context.Context) { sh.script(ctx, "while :; do : & done") })
	sh.all.Wait()
	if started := int(sh.node.pid.Load()); len(sh.jobs) > processLimit || started < processLimit {
		t.Errorf("%d of %d jobs are kept", len(sh.jobs), started)
	}
}

// counter keeps the end of what is written to it.
type counter struct {
	locked
	n    int
	text string
}

func (c *counter) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += len(p)
	c.text += string(p)
	c.text = c.text[max(0, len(c.text)-512):]
	return len(p), nil
}

// TestDiskIsBounded fills the disk in all ways, and gets all of it back.
func TestDiskIsBounded(t *testing.T) { // not parallel: it looks at all memory
	m := bareMachine(t, debian())
	heap := func() int64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&s)
		return int64(s.HeapAlloc)
	}
	before := heap()
	for _, script := range []string{
		"cat /dev/zero > /f; rm /f",
		"mkdir /d; i=0; head -c 60000000 /dev/zero > /big; while echo x > /d/$i; do i=$((i+1)); done 2>/dev/null; rm -r /d /big",
		"{ rm /f; cat /dev/zero; } > /f 2>/dev/null",
		"cat /dev/zero > /f; { cat /dev/zero > /f; } 2>/dev/null; echo a > /f; mv /f /g; mv /g /etc/issue; rm /etc/issue; mkdir /etc/issue; rmdir /etc/issue",
		"cat /dev/zero > /f; cp /f /g; rm /f /g; yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa | sort | head -1; yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa | tail -n 99999999 > /dev/null",
		"cp -r /usr /etc /tmp; mv /tmp/usr /a; rm -r /a /tmp/etc; ln -s aaaaaaaaaaaaaaaaaaaaaaaaa l; rm l; ln -sf a l; ln -sf b l; rm l",
	} {
		m.result(t, script, "")
		var paid int64
		for all := []*file{m.disk.root}; len(all) > 0; {
			f := all[len(all)-1]
			all = all[:len(all)-1]
			if f == nil {
				continue
			}
			paid += f.paid
			for _, kid := range f.kids {
				all = append(all, kid)
			}
		}
		if m.disk.free+paid != diskSize || paid > 8<<10 {
			t.Errorf("%s: %d bytes are free, %d taken, of %d", script, m.disk.free, paid, diskSize)
		}
	}
	m.result(t, "cat /dev/zero > /f", "")
	if m.disk.free >= blockSize+8 {
		t.Errorf("the disk is full with %d bytes free", m.disk.free)
	}
	if took := heap() - before; took > diskSize*5/4 {
		t.Errorf("a full disk takes %d MiB", took>>20)
	}
	runtime.KeepAlive(m)
}

// FuzzShell runs scripts, which must not reach the server: its files, its
// processes, its environment. What they could touch has a name that says so.
func FuzzShell(f *testing.F) {
	const canary = "canary-of-the-host"
	dir := f.TempDir()
	f.Chdir(dir)
	f.Setenv("CANARY", canary)
	f.Setenv("HOME", dir)
	f.Setenv("TMPDIR", dir)
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte(canary), 0o600); err != nil {
		f.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		f.Fatal(err)
	}
	for _, script := range []string{
		"cat " + dir + "/file ./file ../../../.." + dir + "/file /proc/self/environ /proc/self/cwd/file; echo $CANARY",
		"echo x > " + dir + "/new; mkdir " + dir + "/d; rm -rf " + dir + "; touch file; echo y >> file",
		"ln -s / l; cat l" + dir + "/file; cd l; pwd; cd -; echo ~root ~nobody ~$USER ~+ ~-",
		"cat <(env) >(cat); exec 3<>/dev/tcp/127.0.0.1/22; source file; . file; trap 'env' EXIT",
		"type env; command -v sh; pwd -P; test -O file; test -t 0; [[ -v CANARY ]]; declare -n x=CANARY",
		"f() { echo $1 | { read x; echo ${x%a*}$((x+1)); }; }; for i in /* [a-z]?; do f $i; done; hostname; id; uname -a",
		"x=${y:=z}; while read -r a b; do case $a in [!a]*|b?) echo $b;; esac; done <<E\na b\n$x\nE\n",
		"cp -r / /tmp; mv /etc /tmp/usr; ls -la / /tmp; ls /tmp/* | sort -r | head -3 | tail -1 | wc; chmod 7 /tmp; . /etc/issue",
		"set -eu; (exit 3) & wait $!; printf '%s-%5d\\n' a 1 b; unset x; readonly y=1; y=2; shift; eval echo \\$$ $PPID $RANDOM",
		"seq 3 -1 1 | tee /a /b | grep -vn 2; sort -nu /a; yes | head -c 100 >> /b; echo -e '\\0101\\c' > /c; sh /c; exec ls",
	} {
		f.Add(script, "a line\n")
	}
	f.Fuzz(func(t *testing.T, script, stdin string) {
		before := goleak.IgnoreCurrent()
		m := bareMachine(t, debian())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var out counter
		begun := time.Now()
		m.sh(ctx, script, stdin, &out, &out)
		if took := time.Since(begun); took > slack {
			t.Errorf("it took %v", took)
		}
		if strings.Contains(out.text, "internal error") {
			t.Error("it panicked")
		}
		for what, secret := range map[string]string{"the file": canary, "the name": host, "the process": fmt.Sprint(os.Getpid()), "its parent": fmt.Sprint(os.Getppid())} {
			if strings.Contains(out.text, secret) && !strings.Contains(script+stdin, secret) && len(secret) > 4 {
				t.Errorf("%s of the host is seen in %q", what, out.text)
			}
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 {
			t.Errorf("the host's files are %v (%v)", entries, err)
		}
		if data, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(data) != canary {
			t.Errorf("the host's file is %q (%v)", data, err)
		}
		if m.disk.free < 0 || m.processes.Load() != 0 {
			t.Errorf("%d bytes are free, %d processes are left", m.disk.free, m.processes.Load())
		}
		goleak.VerifyNone(t, before)
	})
}
