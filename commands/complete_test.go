package commands

import (
	"slices"
	"strings"
	"testing"

	"walt/power/driver"
)

func TestComplete(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("carol", "node acquire rpi-2")
	lab.ok("bob", "image show")
	lab.ok("bob", "node acquire pc-1 --job 8812")
	lab.ok("bob", "device add sw-1 --mac 52:54:00:00:09:01")
	lab.ok("bob", "device config sw-1 type=switch")
	lab.ok("bob", "device tag rpi-1 lora rack-3")
	lab.ok("bob", "log mark @exp1")
	lab.ok("bob", "log mark @exp2")
	lab.must(lab.app.Lab.Ports.Drivers.Set([]driver.Driver{{Name: "plugs", Hosted: true}, {Name: "rack1"}, {Name: "lamp", Ported: driver.Never}}, nil))
	for _, c := range []struct {
		line  string
		words string // joined by blanks
	}{
		// Words of commands.
		{"", "advanced clear device exit help image log node power user version whoami"},
		{"no", "node"},
		{"walt no", "node"},
		{"walt ", "advanced clear device exit help image log node power user version whoami"},
		{"image ", "clone duplicate inspect load publish remove rename search show"},
		{"node re", "reboot release remove rename retire return"},
		{"node  sho", "show"},
		{"frob", ""},
		{"frob ", ""},
		{"node frob ", ""},

		// Options.
		{"node wait --", "--help --timeout"},
		{"node acquire rpi-1 --m", "--model"},
		{"whoami -", "--help --json"},

		// Their values.
		{"node acquire --model ", "pc-x86-64 rpi-3-b"},
		{"node acquire --any 1 --model r", "rpi-3-b"},
		{"node acquire --any ", ""},
		{"node acquire --any 1 rp", "rpi-1 rpi-10 rpi-2"},
		{"node acquire --model=", "pc-x86-64 rpi-3-b"},
		{"node acquire --any=1 --model=r", "rpi-3-b"},
		{"node show --state=off,u", "unreachable up"},
		{"node show --json=", ""},
		{"node show --frob=", ""},
		{"frob --model=", ""},
		{"user remove bob --heir c", "carol"},
		{"log show --issuers b", "bob"},
		{"log show --type ", "boot download image login-refused network ownership power queue reach registration sharing state user visit"},
		{"log show --type user,bo", "boot"},
		{"log show --history ", "@exp1.. @exp2.. full none"},
		{"log wait --history=@exp1..", "@exp1..@exp1 @exp1..@exp2"},
		{"log mark --remove @exp", "@exp1 @exp2"},
		{"node config pc-1 expose=", "none"},
		{"node cp ", "pc-1: pc-x86-64-default: rpi-10: rpi-1: rpi-2: rpi-3-b-default:"},
		{"node cp rpi-1:/etc/motd ", "pc-1: rpi-10: rpi-1: rpi-2:"},
		{"node cp rpi-1:/e", ""},

		// Sets, also after commas.
		{"node wait ", "all-nodes free-nodes job: model: my-nodes not: pc-1 rpi-1 rpi-10 rpi-2 state: tag: user:"},
		{"node acquire rpi-1", "rpi-1 rpi-10"},
		{"node wait pc-1,", "all-nodes free-nodes job: model: my-nodes not: pc-1 rpi-1 rpi-10 rpi-2 state: tag: user:"},
		{"node wait --yes pc-1,my-nodes,f", "free-nodes"},
		{"node release ", "job:8812 my-nodes pc-1"},
		{"node release my-nodes,", "job:8812 my-nodes pc-1"},
		{"node release r", ""},
		{"node note ", "job:8812 my-nodes pc-1"},
		{"node note pc-1 ", ""},
		{"node share pc-1 c", "carol"},
		{"node share pc-1 ", "alice all carol none"},
		{"node share pc-1 carol,", "alice"},
		{"node acquire ", "all-nodes free-nodes job: model: not: rpi-1 rpi-10 rpi-2 state: tag: user:"},
		{"node acquire rpi-*+not:m", "not:model: not:my-nodes"},
		{"node ask ", "all-nodes job: model: not: rpi-2 state: tag: user:"},
		{"node ask r", "rpi-2"},
		{"node give pc-1 ", "alice carol"},
		{"device tag se", ""},
		{"device show se", "server"},
		{"device show all-", "all-devices all-nodes all-switches"},
		{"device show rpi-1,se", "server"},
		{"log show --issuers bob,ca", "carol"},

		// Their words: behind a comma, a + or not: as at the beginning.
		{"node acquire model:", "model:pc-x86-64 model:rpi-3-b"},
		{"node acquire model:r", "model:rpi-3-b"},
		{"node wait model:rpi-3-b+", "all-nodes free-nodes job: model: my-nodes not: pc-1 rpi-1 rpi-10 rpi-2 state: tag: user:"},
		{"node acquire model:rpi-3-b+rpi-1", "rpi-1 rpi-10"},
		{"node acquire model:rpi-3-b+state:u", "state:unreachable state:up"},
		{"node acquire model:rpi-3-b+not:state:o", "not:state:off"},
		{"node wait not:", "not:all-nodes not:free-nodes not:job: not:model: not:my-nodes not:pc-1 not:rpi-1 not:rpi-10 not:rpi-2 not:state: not:tag: not:user:"},
		{"node acquire rpi-1,not:rpi-10,us", "user:"},
		{"node acquire --any 1 user:b", "user:bob"},
		{"node show job:", "job:8812"},
		{"node show tag:", "tag:lora tag:rack-3"},
		{"node show rpi-1,not:tag:l", "not:tag:lora"},
		{"device tag rpi-1 l", "lora"},
		{"device untag rpi-1 rack-3 l", "lora"},
		{"node show frob:", ""},
		{"device show mod", "model:"},
		{"device show model:pc", "model:pc-x86-64"},
		{"log show --issuers sta", "state:"},

		// Settings, and their values.
		{"device config rpi-1 mo", "model="},
		{"device config rpi-1 model=", "pc-x86-64 rpi-3-b"},
		{"device config rpi-1 boot.args=none model=r", "rpi-3-b"},
		{"device config rpi-1 switch=", "none sw-1"},
		{"node config rpi-1 boot.timeout=", ""},

		// Other arguments.
		{"node boot rpi-1 ", "default pc-x86-64-default rpi-3-b-default"},
		{"node boot rpi-1 rpi-3-b-default ", ""},
		{"image clone walt:c", "walt:carol/rpi-3-b-default"},
		{"image clone walt:carol/rpi-3-b-default ", "pc-x86-64-default rpi-3-b-default"},
		{"node shell pc", "pc-1"},
		{"node rename rpi-1 ", ""},
		{"user show ", "alice bob carol"},
		{"user remove-key ", fingerprint("bob")},
		{"help show im", "images"},
		{"help im", "images"},
		{"node show ", "all-nodes free-nodes job: model: my-nodes not: pc-1 rpi-1 rpi-10 rpi-2 state: tag: user:"},
		{"node show --model rpi-3-b,", "pc-x86-64 rpi-3-b"},
		{"node show --state u", "unreachable up"},
		{"node show --owner c", "carol"},

		// The command for a node is not ours.
		{"node run --y", "--yes"},
		{"node run rpi-1", "rpi-1 rpi-10"},
		{"node run rpi-1 ", ""},
		{"node run rpi-1 --", ""},
		{"node run rpi-1 ls -", ""},

		// Outlets, as the driver wants them.
		{"device config rpi-1 power=", "lamp none plugs@ poe rack1: wol"},
		{"device config rpi-1 power=p", "plugs@ poe"},
		{"device config rpi-1 power=rack1:7+", "lamp plugs@ rack1:"},
		{"device config rpi-1 power.first=", "hard soft"},
	} {
		start, words := lab.app.Complete(t.Context(), lab.session("bob", ""), c.line)
		if got := strings.Join(words, " "); got != c.words {
			t.Errorf("%q: %q, want %q", c.line, got, c.words)
		}
		begun := strings.LastIndexAny(c.line, " ,=+") + 1
		if words == nil && strings.HasSuffix(c.line, "=") { // nothing begins there
			begun = start
		}
		if start != begun {
			t.Errorf("%q: the word begins at %d, want %d", c.line, start, begun)
		}
	}
}

// Of many words the first are found in natural order.
func TestInOrder(t *testing.T) {
	t.Parallel()
	words := []string{"n-1", "n-10", "n-100", "n-11", "n-2", "n-20", "n-3", "all-nodes", "n-2"}
	for _, c := range []struct {
		most int
		want string
	}{
		{100, "all-nodes n-1 n-2 n-2 n-3 n-10 n-11 n-20 n-100"},
		{9, "all-nodes n-1 n-2 n-2 n-3 n-10 n-11 n-20 n-100"},
		{4, "all-nodes n-1 n-2 n-2"},
		{1, "all-nodes"},
		{0, ""},
	} {
		if got := strings.Join(InOrder(words, c.most), " "); got != c.want {
			t.Errorf("the first %d: %q, want %q", c.most, got, c.want)
		}
	}
	if words[1] != "n-10" {
		t.Errorf("it changed what it was given: %q", words)
	}
}

// Completion looks images up, and so makes the first ones.
func TestCompleteMakesTheFirstImages(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	_, words := lab.app.Complete(t.Context(), lab.session("bob", ""), "node boot rpi-1 rpi")
	if !slices.Equal(words, []string{"rpi-3-b-default"}) {
		t.Errorf("%q", words)
	}
	if got := lab.ok("bob", "image show --names-only"); got != "pc-x86-64-default\nrpi-3-b-default\n" {
		t.Errorf("bob's images: %s", got)
	}
}

// Every word that is offered for a command path leads to a command.
func TestCompletedPathsAreCommands(t *testing.T) {
	t.Parallel()
	app := New(Services{})
	for _, cmd := range app.listed() {
		line := ""
		for _, word := range strings.Fields(cmd.Path) {
			_, words := app.Complete(t.Context(), &Session{}, line+word[:1])
			if !slices.Contains(words, word) {
				t.Errorf("after %q: %q lacks %s", line, words, word)
			}
			line += word + " "
		}
	}
}

func TestCompleteWithoutStore(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.store.Close()
	for _, line := range []string{"node acquire r", "node boot rpi-1 r", "user show b", "image clone w", "user remove-key S", "node acquire --model r", "device show r"} {
		if _, words := lab.app.Complete(t.Context(), lab.session("bob", ""), line); len(words) > 0 {
			t.Errorf("%q: %q", line, words)
		}
	}
}
