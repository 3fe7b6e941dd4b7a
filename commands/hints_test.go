package commands

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"walt/auth"
)

// hinted finds the commands that a text tells its reader to type: those after a
// colon, "or" or "then".
func (a *App) hinted(text string) (lines []string) {
	var paths []string
	for _, cmd := range a.table {
		paths = append(paths, regexp.QuoteMeta(cmd.Path))
		if group, _, ok := strings.Cut(cmd.Path, " "); ok {
			paths = append(paths, group+" --help")
		}
	}
	slices.SortFunc(paths, func(a, b string) int { return len(b) - len(a) })
	begin := regexp.MustCompile(`(?:: |, or |, then )((?:(?:docker save IMAGE \| )?ssh walt@SERVER )?(?:` + strings.Join(paths, "|") + `)(?:[ ;,)"\n].*|$))`)
	end := regexp.MustCompile(`; |\)|, or |, then | \(|$`)
	for text := range strings.Lines(text) {
		text = strings.TrimSuffix(text, "\n")
		for {
			m := begin.FindStringSubmatchIndex(text)
			if m == nil {
				break
			}
			text = text[m[2]:]
			if at := end.FindStringIndex(text); text[:at[0]] != "" {
				lines = append(lines, strings.TrimPrefix(strings.TrimPrefix(text[:at[0]], "docker save IMAGE | "), "ssh walt@SERVER "))
				text = text[at[0]:]
			}
		}
	}
	return lines
}

// manyMarks are the lines of a user who marks as many moments as there may be.
func manyMarks() (lines []string) {
	for i := range 200 {
		lines = append(lines, "bob log mark @m"+strconv.Itoa(i))
	}
	return lines
}

// hintCase is a line that is answered with hints, in a lab where the lines before
// it have been typed.
type hintCase struct {
	before []string // each begins with its user
	user   auth.Name
	line   string
	stdin  string
}

// manyTags are as many as a device may have.
const manyTags = "t0 t1 t2 t3 t4 t5 t6 t7 t8 t9 t10 t11 t12 t13 t14 t15 t16 t17 t18 t19 t20 t21 t22 t23 t24 t25 t26 t27 t28 t29"

var hintCases = []hintCase{
	{user: "bob", line: "frobnicate"},
	{user: "bob", line: "node frobnicate"},
	{user: "bob", line: "node log"},
	{user: "bob", line: "node info"},
	{user: "bob", line: "node status"},
	{user: "bob", line: "node ps"},
	{user: "bob", line: "node poweroff"},
	{user: "bob", line: "power cycle"},
	{user: "bob", line: "node show ''"},
	{user: "bob", line: "node"},
	{user: "bob", line: "help show nothing-like-it"},
	{user: "bob", line: "node show"},
	{user: "bob", line: "node show --owner nobody-like-that"},
	{user: "bob", line: "node show --state nothing-like-it"},
	{user: "bob", line: "node show --free rpi-1 --model pc-x86-64"},
	{user: "bob", line: "log show --type nothing-like-it"},
	{user: "bob", line: "log wait --timeout 1ms never"},
	{user: "bob", line: "log wait --timeout 1ms --nodes rpi-1 never"},
	{user: "bob", line: "log show --history @never.."},
	{user: "bob", line: "log marks"},
	{before: manyMarks(), user: "bob", line: "log mark @one-more"},
	{user: "bob", line: "node acquire esp"},
	{user: "bob", line: "node acquire server"},
	{user: "bob", line: "node reboot server"},
	{user: "bob", line: "node acquire all-nodes,"},
	{user: "bob", line: "node acquire my-nodes"},
	{user: "bob", line: "device forget all-switches"},
	{user: "bob", line: "device config server"},
	{user: "bob", line: "device rescan"},
	{before: []string{"bob device forget rpi-*"}, user: "bob", line: "device tree"},
	{user: "bob", line: "device untag rpi-1 nothing-like-it"},
	{before: []string{"bob device tag rpi-1 " + manyTags}, user: "bob", line: "device tag rpi-1 more"},
	{user: "bob", line: "node show tag:nothing-like-it"},
	{before: []string{"bob device tag rpi-1 lora"}, user: "bob", line: "node show lora"},
	{user: "bob", line: "node show user:nothing-like-it"},
	{user: "bob", line: "node show user:server"},
	{user: "bob", line: "device test rpi-1"},
	{user: "bob", line: "device test pc-1 --rounds 1 --timeout 1ms"},
	{user: "bob", line: "node run rpi-1,rpi-2 ls"},
	{before: []string{"bob node create n1"}, user: "bob", line: "node create n1"},
	{before: []string{"bob node create n1"}, user: "carol", line: "node create n1"},
	{user: "bob", line: "node create rpi-1"},
	{before: []string{"bob node create n1", "bob node off n1"}, user: "bob", line: "node wait n1"},
	{user: "bob", line: "node rename rpi-1 server"},
	{user: "bob", line: "device add rpi-9 --mac 52:54:00:00:00:01"},
	{user: "bob", line: "device add rpi-1 --mac 52:54:00:00:00:99"},
	{user: "bob", line: "device add pc-1 --mac 52:54:00:00:00:99"},
	{user: "bob", line: "device add thing --mac 52:54:00:00:00:99"},
	{before: []string{"bob device add thing --mac 52:54:00:00:00:99"}, user: "bob", line: "device config thing address=10.0.0.2"},
	{before: []string{"bob device add thing --mac 52:54:00:00:00:99", "bob device config thing type=switch"}, user: "bob", line: "device config rpi-1 port=1"},
	{before: []string{"bob device add thing --mac 52:54:00:00:00:99", "bob device config thing type=switch"}, user: "bob", line: "device config rpi-1 switch=rpi-2 port=1"},
	{user: "bob", line: "device forget pc-1"},
	{user: "bob", line: "node remove rpi-1"},
	{user: "bob", line: "node config rpi-1 x"},
	{user: "bob", line: "node ping rpi-1"},
	{user: "bob", line: "node ping pc-1"},
	{user: "bob", line: "node run rpi-1 ls"},
	{user: "bob", line: "node run pc-1 ls"},
	{before: []string{"bob node acquire rpi-1"}, user: "bob", line: "device config rpi-1 model=rpi-4-b"},
	{user: "bob", line: "device config rpi-1 model=rpi-9"},
	{before: []string{"bob node acquire rpi-1"}, user: "bob", line: "node acquire rpi-1"},
	{before: []string{"bob node acquire rpi-1"}, user: "bob", line: "node acquire rpi-1 --for 2h"},
	{before: []string{"bob node acquire rpi-2"}, user: "bob", line: "node acquire rpi-1 --note two words"},
	{before: []string{"bob node acquire rpi-1"}, user: "carol", line: "node release rpi-1"},
	{before: []string{"bob node acquire rpi-1"}, user: "carol", line: "node release rpi-*"},
	{before: []string{"bob node acquire rpi-1"}, user: "carol", line: "node acquire rpi-1 --no-input"},
	{user: "carol", line: "node release rpi-1"},
	{user: "carol", line: "node note rpi-1 mine"},
	{user: "bob", line: "node ask rpi-1"},
	{before: []string{"bob node acquire rpi-1"}, user: "bob", line: "node ask rpi-1"},
	{before: []string{"bob node acquire rpi-1"}, user: "bob", line: "node give rpi-1 bob"},
	{user: "bob", line: "node acquire --any 40"},
	{user: "bob", line: "node extend rpi-1 1h"},
	{before: []string{"bob node acquire rpi-1 --for 1h"}, user: "bob", line: "node extend rpi-1 3660d"},
	{user: "bob", line: "node acquire --any 1 --model nothing-like-it"},
	{before: []string{"bob image show"}, user: "bob", line: "node boot pc-1 rpi-3-b-default"},
	{before: []string{"bob image show"}, user: "bob", line: "node boot pc-1 nothing-like-it"},
	{user: "bob", line: "node boot pc-1 UPPER:case:"},
	{before: []string{"carol image show"}, user: "bob", line: "image duplicate walt:carol/rpi-3-b-default mine"},
	{user: "bob", line: "image inspect waltplatform/pc-x86-64-default"},
	{user: "bob", line: "log show | less"},
	{before: []string{"bob image show"}, user: "bob", line: "image clone walt:waltplatform/rpi-3-b-default"},
	{before: []string{"bob node acquire rpi-1"}, user: "bob", line: "image remove rpi-3-b-default"},
	{before: []string{"bob node acquire rpi-1"}, user: "bob", line: "image clone --force walt:waltplatform/pc-x86-64-default rpi-3-b-default"},
	{user: "bob", line: "image clone nonsense"},
	{before: []string{"bob image show"}, user: "bob", line: "image load rpi-3-b-default"},
	{user: "bob", line: "image load os"},
	{before: []string{"bob image show"}, user: "bob", line: "image clone walt:bob/rpi-3-b-default"},
	{before: []string{"bob image show"}, user: "bob", line: "node boot rpi-1 walt:bob/rpi-3-b-default"},
	{before: []string{"carol image show", "carol image rename rpi-3-b-default mine", "bob image show"}, user: "bob", line: "node boot rpi-1 walt:carol/mine"},
	{user: "bob", line: "image inspect nothing-like-it"},
	{user: "bob", line: "log show --issuers nothing-like-it"},
	{user: "bob", line: "log show --issuers ["},
	{user: "bob", line: "log show --history 2020-01-01..2020-01-02"},
	{user: "bob", line: "power show"},
	{before: []string{"alice device config rpi-1 power=wol"}, user: "bob", line: "node on rpi-1"},
	{before: []string{"alice device config rpi-1,rpi-2 power=wol"}, user: "bob", line: "node on rpi-1,rpi-2"},
	{user: "bob", line: "advanced backup"},
	{user: "bob", line: "advanced jobs cancel nothing-like-it"},
	{user: "bob", line: "user add dave", stdin: publicKey("dave")},
	{user: "alice", line: "user add bob", stdin: publicKey("new")},
	{user: "alice", line: "user add dave"},
	{user: "alice", line: "user add-key bob"},
	{user: "alice", line: "user show nothing-like-it"},
	{user: "bob", line: "user remove-key " + fingerprint("bob")},
	{user: "bob", line: "user remove-key nothing-like-it"},
	{before: []string{"bob node acquire rpi-1"}, user: "alice", line: "user remove bob"},
	{before: []string{"bob node acquire rpi-1"}, user: "alice", line: "user remove bob --heir dave"},
	{user: "alice", line: "user remove alice"},
	{user: "alice", line: "user demote alice"},
	{user: "alice", line: "user demote carol"},
	{user: "alice", line: "user promote nobody-like-it"},
	{user: "bob", line: "ls"},
	{user: "bob", line: "history"},
	{user: "bob", line: "status"},
	{user: "bob", line: "help show node"},
	{user: "bob", line: "help frobnicate"},
	{user: "alice", line: "user remove-key " + fingerprint("alice")},
	{before: []string{"alice node acquire rpi-1"}, user: "bob", line: "node acquire --any 3 --model rpi-3-b"},
	{before: []string{"alice node acquire rpi-1"}, user: "bob", line: "node acquire --any 3 --model rpi-3-b --wait --timeout 1ms"},
	{before: []string{"alice device forget rpi-*", "alice node remove pc-1"}, user: "bob", line: "node show --all"},
	{before: []string{"alice image show", "alice image clone walt:waltplatform/rpi-4-b-default rpi-3-b-default --force"}, user: "alice", line: "node acquire rpi-1"},
}

// What stands for something in a hint, and what a user might put there.
var fillIn = strings.NewReplacer(
	" SET", " rpi-2", " NODE", " rpi-2", " NAME", " fresh", " MODEL", " rpi-3-b", "=MODEL", "=rpi-3-b", " USER", " carol", " NEW", " second", " SWITCH", " switch-1", "=NAME", "=switch-1", "=N", "=1",
	" MAC", " 52:54:00:00:00:98", " IMAGE", " spare", " FINGERPRINT", " "+fingerprint("phone"), " < KEY.pub", "", " TAG", " lora",
)

func (h hintCase) prepare(t *testing.T) (*testLab, answer) {
	lab := newTestLab(t)
	lab.nodes.Ports.Waker = &packets{}
	_, err := lab.users.AddKeys(t.Context(), "bob", "bob", publicKey("phone"))
	lab.must(err)
	lab.addDefault("rpi-4-b")
	for _, line := range h.before {
		user, line, _ := strings.Cut(line, " ")
		lab.ok(auth.Name(user), line)
	}
	return lab, lab.run(h.user, h.line, h.stdin)
}

// Who types a command that a hint names is not led to a second error.
func TestHints(t *testing.T) {
	t.Parallel()
	var shown strings.Builder
	for _, h := range hintCases {
		lab, got := h.prepare(t)
		shown.WriteString(got.stdout + got.stderr)
		var text strings.Builder
		for line := range strings.Lines(got.stdout + got.stderr) {
			if !strings.HasPrefix(line, "  usage: ") {
				text.WriteString(line)
			}
		}
		for _, hint := range lab.app.hinted(text.String()) {
			if !strings.Contains(text.String(), ", then ") {
				lab, _ = h.prepare(t)
			}
			line, stdin := fillIn.Replace(hint), "y\n"
			switch {
			case strings.Contains(hint, "< KEY.pub"):
				stdin = publicKey("another")
			case strings.HasPrefix(line, "node wait"): // it does wait
				line += " --timeout 1ms"
			case strings.HasSuffix(line, " --wait"):
				line += " --timeout 1ms"
			case strings.HasPrefix(line, "image load"):
				stdin = packedImage(t)
			case strings.HasPrefix(line, "advanced backup"):
				line, _, _ = strings.Cut(line, " >")
			}
			if strings.Contains(hint, "IMAGE") {
				lab.ok(h.user, "image show")
				lab.ok(h.user, "image duplicate rpi-3-b-default spare")
			}
			if strings.Contains(hint, "SWITCH") || strings.Contains(hint, "switch=NAME") {
				lab.ok(h.user, "device add switch-1 --mac 52:54:00:00:00:97")
				lab.ok(h.user, "device config switch-1 type=switch address=10.0.0.2 snmp.version=2 snmp.community=c")
			}
			again := lab.run(h.user, line, stdin)
			if waited := strings.HasSuffix(line, " --timeout 1ms") && strings.Contains(again.stderr, " after 1ms"); again.status != StatusDone && !waited {
				t.Errorf("%s: %s: the hint is %q; %s ends with status %d: %s", h.user, h.line, hint, line, again.status, again.stderr)
			}
		}
	}
	app := New(Services{})
	for text, at := range literals(t) {
		if strings.HasSuffix(text, " ") {
			text += "x" // what is put behind it
		}
		hints := app.hinted(text)
		for _, hint := range hints {
			hint, _, _ := strings.Cut(fillIn.Replace(strings.ReplaceAll(hint, "%", "")), " >")
			words, err := split(hint)
			cmd, rest, ok := app.lookup(words)
			c := &Call{cmd: cmd}
			if err == nil && ok {
				err = c.parse(rest)
			}
			if group := len(words) == 2 && isHelp(words[1]); !ok && !group || err != nil && !errors.Is(err, pflag.ErrHelp) {
				t.Errorf("%s: %q: %v", at, hint, err)
			}
		}
		takes := func(hint string) bool { return strings.ContainsAny(hint, "%ABCDEFGHIJKLMNOPQRSTUVWXYZ") }
		if slices.ContainsFunc(hints, takes) && !met(text, shown.String()) && !slices.ContainsFunc(metElsewhere, func(s string) bool { return strings.Contains(text, s) }) {
			t.Errorf("%s: no case leads to %q", at, text)
		}
	}
}

// metElsewhere are parts of hints that need more than these cases have; what they
// name is checked only to be a command.
var metElsewhere = []string{
	"soon after it was up: it starts after a pause",                                   // of a machine that reboots again and again
	"its model is not known, tell it",                                                 // on the screen of a board
	"Usage:\n  waltd serve", "of a running server: ssh", "a backup is made by: waltd", // of waltd itself
	"\nMore: help show %s\n",
	"and then tell what feeds it: node on %s",                                 // story drivers
	"switch off all that it feeds: node off %s",                               // story drivers-shared
	"see what is told to feed it with: device config %s",                      // TestNodeThatSomethingElseFeeds
	"have it reboot by itself: device test %s",                                // story drivers-shared
	"see what is known of it with: device show %s",                            // TestModelThatDoesNotFit
	"see what it is doing with: node show %s", "test it with: device test %s", // TestTestsThatEnd, as the next two
	"see who with: log show --issuers %s", "see how that goes with: log show --issuers",
	"try again with: node reboot %s",                                                                           // a reboot that failed may fail again
	"cut it for all with: node reboot %s --hard",                                                               // TestNodeOnASharedOutlet
	"start again with: node reboot %s",                                                                         // TestCannotBoot
	"make a node that is simulated: node create",                                                               // TestMachinesAreSparedWhatTheyCannotBoot
	"to give it: node give", "to give them: node give", "to take that: node ask", "see why with: node show %s", // TestAsk, TestGive
	"ask for it with: node ask %s",               // to whom a node is not lent any more
	"see why with: image inspect NAME",           // TestImagesThatBootMachines
	"have it go on with: node run",               // TestStoppedBoot
	"go on with: node boot %s default",           // TestReleaseInParts, of nodes
	"See all in state %s with: node show",        // TestManyTroubles
	"give it more, with: node config NODE ram=",  // TestTooLittleMemory
	"its model is not told; then: device config", // TestImportWalT, as the next two
	"it is virtual; make one here with: node create", "then: device config %s type=switch",
	"boot.root=",                                    // TestChoiceOfRoot
	"node reboot --hard x", "advanced jobs retry x", // their beginnings, here with an x
	"write it to a file: ssh",                    // only on a terminal
	"A fresh clone: image clone --force walt:%s", // TestOutdatedClone
	"choose one: image clone %s NAME",            // of what is in a registry
	"all the same with: image clone --platform",  // TestManifestListOfAnyName
	"all the same with: image load --platform",   // TestLoadVariant
	"say which of them: image load",              // TestImageLoad
	"send it instead: docker save",               // only on a terminal
	"take it again with: node acquire %s",        // a story has it, and the next
	"out of service, see: node show %s",
	"; to go on: node extend %s 1h",                                                                                                                                       // TestExtend
	"remove those that are not used: user remove-key",                                                                                                                     // as where FINGERPRINT is unknown
	"a node that is no machine: node create NAME",                                                                                                                         // TestWhatVirtualNodesAre
	"open a shell with: node shell %s", "an administrator does so with: node config %s serial=", "node console %s", "if it is not any more: device config %s serial=none", // TestConsole, TestWhoSaysWhereASerialLineIs
	"is one too, but has no key that is valid: user", // TestLastAdministratorWhoCanLogIn
}

// met reports whether a text was shown; verbs in it stand for anything.
func met(format, shown string) bool {
	quoted := regexp.MustCompile(`%(\.\d+)?[a-z]`).ReplaceAllString(regexp.QuoteMeta(format), `.*`)
	return regexp.MustCompile(strings.ReplaceAll(quoted, "\n", "\n *")).MatchString(shown)
}

// literals returns all texts in the code of the server, and where they are.
func literals(t *testing.T) map[string]string {
	found := map[string]string{}
	files := token.NewFileSet()
	root := os.DirFS("..")
	err := fs.WalkDir(root, ".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (file == "e2e" || file == "tools" || file == "demo" || file != "." && d.Name()[0] == '.'):
			return fs.SkipDir
		case d.IsDir() || path.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		text, err := fs.ReadFile(root, file)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(files, file, text, 0)
		if err != nil {
			return err
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				text, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				found[text] = files.Position(lit.Pos()).String()
			}
			return true
		})
		return nil
	})
	if err != nil || len(found) < 1000 {
		t.Fatalf("%d texts, %v", len(found), err)
	}
	return found
}
