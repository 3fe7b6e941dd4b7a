package commands

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"walt/auth"
	"walt/fault"
)

// The table is the only description of a command: what it must be for that.
func TestTable(t *testing.T) {
	t.Parallel()
	app := New(Services{})
	seen := map[string]bool{}
	for _, cmd := range app.table {
		switch {
		case slices.ContainsFunc(append(cmd.Also, cmd.Path), func(path string) bool { return seen[path] }):
			t.Errorf("%s is there twice", cmd.Path)
		case cmd.Instead != "":
			if cmd.Short != "" || cmd.Run != nil || cmd.Also != nil || cmd.Args != nil || cmd.Flags != nil {
				t.Errorf("%s is no command and more than a hint: %+v", cmd.Path, cmd)
			}
		case cmd.Run == nil || cmd.Short == "":
			t.Errorf("%s lacks Run or Short", cmd.Path)
		case strings.HasSuffix(cmd.Short, ".") || cmd.Short[0] < 'a' || cmd.Short[0] > 'z':
			t.Errorf("%s: Short is lower case without a period: %q", cmd.Path, cmd.Short)
		case cmd.Topic != "" && !slices.Contains(Topics(), cmd.Topic):
			t.Errorf("%s: there is no topic %s", cmd.Path, cmd.Topic)
		case cmd.Passes && (len(cmd.Args) == 0 || !cmd.Args[len(cmd.Args)-1].Many):
			t.Errorf("%s passes nothing on", cmd.Path)
		}
		for _, path := range append(cmd.Also, cmd.Path) {
			seen[path] = true
		}
		for i, a := range cmd.Args {
			last := i == len(cmd.Args)-1
			if a.Name != strings.ToUpper(a.Name) || a.Many && !last || a.Optional && !last && !cmd.Args[i+1].Optional {
				t.Errorf("%s: argument %+v", cmd.Path, a)
			}
		}
		// ssh joins words, so free text is never the value of an option, and it is the
		// last argument, which takes the rest of the line.
		free := regexp.MustCompile(`^(TEXT|NOTE|REASON|COMMENT|MESSAGE|DESCRIPTION|PATTERN|COMMAND)$`)
		for i, a := range cmd.Args {
			if free.MatchString(a.Name) && (i < len(cmd.Args)-1 || !cmd.Passes) {
				t.Errorf("%s: %s does not take the rest of the line", cmd.Path, a.Name)
			}
		}
		if slices.ContainsFunc(cmd.Flags, func(f Flag) bool { return free.MatchString(f.Value) }) {
			t.Errorf("%s: free text as the value of an option", cmd.Path)
		}
		names := map[string]bool{"help": true, "h": true}
		for _, f := range cmd.Flags {
			if f.Usage == "" || f.Value != strings.ToUpper(f.Value) || names[f.Name] || f.Short != "" && names[f.Short] {
				t.Errorf("%s: option %+v", cmd.Path, f)
			}
			names[f.Name], names[f.Short] = true, true
		}
	}
}

func TestEveryCommandHelps(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	app := lab.app
	for _, cmd := range app.listed() {
		got := lab.run("bob", cmd.Path+" --help", "")
		if got.status != StatusDone || got.stderr != "" {
			t.Errorf("%s --help: %+v", cmd.Path, got)
		}
		wanted := []string{cmd.Path + ": " + cmd.Short + "\n\nUsage: " + cmd.usage() + "\n", "-h, --help"}
		for _, f := range cmd.Flags {
			wanted = append(wanted, f.usage(), f.Usage)
		}
		for _, want := range wanted {
			if !strings.Contains(got.stdout, want) {
				t.Errorf("%s --help lacks %q:\n%s", cmd.Path, want, got.stdout)
			}
		}
		for line := range strings.Lines(got.stdout) {
			if width := utf8.RuneCountInString(line); width > 81 && !strings.HasPrefix(line, "Usage: ") {
				t.Errorf("%s --help: %d columns: %s", cmd.Path, width, line)
			}
		}
		for _, line := range []string{cmd.Path + " -h", "walt " + cmd.Path + " --help", cmd.Path + " --help=yes"} {
			if again := lab.run("bob", line, ""); again != got {
				t.Errorf("%s: %+v", line, again)
			}
		}
	}
}

func TestEveryCommandCountsItsArguments(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	app := lab.app
	for _, cmd := range app.listed() {
		least := 0
		for _, a := range cmd.Args {
			if !a.Optional {
				least++
			}
		}
		if least > 0 {
			got := lab.run("bob", cmd.Path+strings.Repeat(" x", least-1), "")
			want := "walt: " + cmd.Path + ": " + cmd.Args[least-1].Name + " is missing\n  usage: " + cmd.usage() + "\n"
			if got != (answer{"", want, StatusUsage}) {
				t.Errorf("%s with too few arguments: %+v", cmd.Path, got)
			}
		}
		if n := len(cmd.Args); n == 0 || !cmd.Args[n-1].Many {
			got := lab.run("bob", cmd.Path+strings.Repeat(" x", n)+" y", "")
			want := "walt: " + cmd.Path + ": too many arguments, from \"y\" on\n"
			if got.stdout != "" || got.status != StatusUsage || !strings.HasPrefix(got.stderr, want) || !strings.HasSuffix(got.stderr, "  usage: "+cmd.usage()+"\n") {
				t.Errorf("%s with too many arguments: %+v", cmd.Path, got)
			}
		}
		got := lab.run("bob", cmd.Path+" --no-such-option", "")
		if got.status != StatusUsage || !strings.Contains(got.stderr, "unknown option --no-such-option") {
			t.Errorf("%s with an unknown option: %+v", cmd.Path, got)
		}
	}
}

// Options after the nodes of "node run" are those of the command there.
func TestRunPassesOptionsOn(t *testing.T) {
	t.Parallel()
	cmd, rest, _ := New(Services{}).lookup(strings.Fields("node run -y rpi-1 ls --help -h --yes"))
	c := &Call{cmd: cmd}
	if err := c.parse(rest); err != nil || !c.on("yes") || !slices.Equal(c.args, []string{"rpi-1", "ls", "--help", "-h", "--yes"}) {
		t.Errorf("%q, %v", c.args, err)
	}
}

func TestOverviews(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	app := lab.app
	all := lab.ok("bob", "help")
	for _, cmd := range app.listed() {
		if !regexp.MustCompile(`(?m)^  ` + cmd.Path + `  +` + regexp.QuoteMeta(cmd.Short) + `$`).MatchString(all) {
			t.Errorf("help lacks %s", cmd.Path)
		}
	}
	for _, line := range []string{"--help", "-h", "help show"} {
		if got := lab.ok("bob", line); got != all {
			t.Errorf("%s differs from help", line)
		}
	}
	for line, like := range map[string]string{"help node acquire": "node acquire --help", "help whoami": "whoami --help", "help user": "user --help"} {
		if got := lab.ok("bob", line); got != lab.ok("bob", like) {
			t.Errorf("%s differs from %s:\n%s", line, like, got)
		}
	}
	lab.tell([]step{{user: "bob", line: "help nod acquire", status: StatusUsage, stderr: "walt: unknown command \"nod\"\n" +
		"  did you mean node acquire?\n" + lab.app.usageOf("node acquire")}})
	for line, near := range map[string]string{
		"user frobnicate --help": "user --help", "node fly --help": "node --help", "node acquir --help": "node acquire",
		"help node acquir": "node acquire", "help user frobnicate": "user --help", "advanced jobs retryy --help": "advanced jobs",
		"help advanced jobs retryy": "advanced jobs retry", "image --hepl": "image --help", "node --json show": "usage: node show [--all]",
		"node -y release rpi-1": "usage: node release", "topics": "did you mean help list?", "status": "node show --all",
	} {
		if got := lab.run("bob", line, ""); got.status != StatusUsage || got.stdout != "" || !strings.Contains(got.stderr, near) {
			t.Errorf("%s: %+v", line, got)
		}
	}
	if got := lab.ok("bob", "node config --help"); !strings.Contains(strings.Join(strings.Fields(got), " "), " boot.timeout a length of time, as in 90s or 3m boot.retries") || strings.Contains(got, "snmp.") {
		t.Errorf("node config --help:\n%s", got)
	}
	for line, near := range map[string]string{
		"help nod": "did you mean node or node-ownership instead of nod?", "help imags": "images", "help show node": "it is a command, which this explains: help node\n",
		"help show whoami": "help whoami", "help frobnicate": "see all topics with: help list; all commands with: help\n",
	} {
		if got := lab.run("bob", line, ""); got.status != StatusFailed || got.stdout != "" || !strings.Contains(got.stderr, near) {
			t.Errorf("%s: %+v", line, got)
		}
	}
	for _, line := range []string{"user --help", "user -h", "user help", "man user"} {
		got := lab.ok("bob", line)
		if !strings.Contains(got, "user add-key ") || strings.Contains(got, "node") {
			t.Errorf("%s:\n%s", line, got)
		}
	}
}

func TestTopics(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	list := lab.ok("bob", "help list")
	for _, name := range []string{"node-ownership", "device-sets", "images", "registries", "optional-features", "design-notes", "ci", "admin"} {
		if !slices.Contains(Topics(), name) {
			t.Errorf("there is no topic %s", name)
		}
	}
	for _, name := range Topics() {
		text := lab.ok("bob", "help show "+name)
		title, _, _ := strings.Cut(text, "\n")
		if !strings.HasPrefix(title, "# ") || !regexp.MustCompile(`(?m)^`+name+` +`+regexp.QuoteMeta(title[2:])+`$`).MatchString(list) {
			t.Errorf("%s: the title is %q, the list\n%s", name, title, list)
		}
		if again := lab.ok("bob", "help "+name); again != text {
			t.Errorf("help %s differs from help show %s", name, name)
		}
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 78 || clean(strings.TrimSuffix(line, "\n")) != line[:len(line)-1] {
				t.Errorf("%s: %d columns: %q", name, n, line)
			}
		}
	}
	lab.tell([]step{
		{user: "bob", line: "help show imags", status: StatusFailed, stderr: "walt: unknown topic imags\n  did you mean images instead of imags?\n"},
		{user: "bob", line: "help show nothing-like-it", status: StatusFailed, stderr: "walt: unknown topic nothing-like-it\n  see all topics with: help list\n"},
	})
	if got := lab.runIn(t.Context(), lab.terminal("bob"), "help show ci"); !strings.HasPrefix(got.stdout, "\x1b[1mScripts and continuous integration\x1b[0m\n") {
		t.Errorf("the title on a terminal: %.80q", got.stdout)
	}
}

// Every "help show TOPIC" in messages and texts names a topic.
func TestReferencesToTopics(t *testing.T) {
	t.Parallel()
	root := os.DirFS("..")
	reference := regexp.MustCompile(`help\s+show\s+([a-z]+(-[a-z]+)*)`)
	found := 0
	err := fs.WalkDir(root, ".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || d.IsDir() && file != "." && d.Name()[0] == '.':
			return fs.SkipDir
		case d.IsDir() || strings.HasSuffix(file, "_test.go") || path.Ext(file) != ".go" && path.Ext(file) != ".md":
			return nil
		}
		text, err := fs.ReadFile(root, file)
		if err != nil {
			return err
		}
		for _, m := range reference.FindAllStringSubmatch(string(text), -1) {
			found++
			if !slices.Contains(Topics(), m[1]) {
				t.Errorf("%s: there is no topic %s", file, m[1])
			}
		}
		return nil
	})
	if err != nil || found < 5 {
		t.Errorf("%d references found, %v", found, err)
	}
}

// Every command line that a topic or the README shows is one that is accepted.
func TestCommandLinesInTexts(t *testing.T) {
	t.Parallel()
	app := New(Services{})
	texts := map[string]string{}
	for _, name := range Topics() {
		text, known := Topic(name)
		if !known {
			t.Fatalf("there is no topic %s", name)
		}
		texts[name] = text
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	texts["README.md"] = string(readme)

	remote := regexp.MustCompile(`\bssh (?:-\w+ (?:\d+ )?)*(?:lab|walt@[\w.]+) "?(\S.*)`)
	local := regexp.MustCompile(`^(node|image|device|user|log|advanced|help|whoami|version)\b`)
	end := regexp.MustCompile("[<>;|`)]|  |\" ")
	found := 0
	for name, text := range texts {
		for line := range strings.Lines(text) {
			line, shown := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "    ")
			if m := remote.FindStringSubmatch(line); m != nil {
				line = m[1]
			} else if !shown || !local.MatchString(line) {
				continue
			}
			if at := end.FindStringIndex(line); at != nil {
				line = line[:at[0]]
			}
			line = strings.TrimSuffix(line, `"`)
			words, err := split(line)
			if err != nil || len(words) == 0 {
				continue // a shell or a script
			}
			found++
			cmd, rest, ok := app.lookup(words)
			c := &Call{cmd: cmd}
			if !ok {
				t.Errorf("%s: %q is no command", name, line)
			} else if err := c.parse(rest); err != nil {
				t.Errorf("%s: %q: %v", name, line, err)
			}
		}
	}
	if found < 30 {
		t.Errorf("only %d command lines found", found)
	}
}

// The reserved words of the lab can be explained to nobody who is called so.
func TestReservedWordsAreUsageFaults(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	for _, line := range []string{
		"user add waltplatform", "user add Alice", "user add root", "user add a-", "user add " + strings.Repeat("a", 33),
		"node rename rpi-1 my-nodes", "node rename rpi-1 server", "node rename rpi-1 rpi-", "node rename rpi-1 1pi", "node create x",
		"node boot rpi-1 foo:", "node boot rpi-1 :foo", "node boot rpi-1 default:x", "image clone bob/debian", "image clone walt:bob/a:b:c",
		"node acquire rpi-1,", "node acquire rpi-[", "device add x9 --mac 52:54:00 --model m", "device add x9 --mac 01:00:00:00:00:00",
		"device add x9 --mac 52:54:00:00:00:77 --model a/b",
	} {
		got := lab.run("alice", line, publicKey("new"))
		if got.status != StatusUsage || got.stdout != "" || strings.Count(got.stderr, "\n") < 2 {
			t.Errorf("%s: %+v", line, got)
		}
	}
	if auth.Nobody != "waltplatform" || fault.Usage == 0 {
		t.Error("the reserved word changed")
	}
}
