package main

import (
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
)

// imports is who may import whom: the architecture of the server.
var imports = map[string][]string{
	".":              {"auth", "backup", "commands", "config", "consent", "console", "demo", "ethernet", "fault", "history", "hostkeys", "images", "journal", "netboot", "netboot/boards", "netboot/initrd", "netboot/nic", "nodelogs", "nodelogs/intake", "nodes", "pause", "power", "power/driver", "power/driver/pdu", "power/driver/program", "power/driver/redfish", "power/driver/web", "reach", "reach/files", "sshd", "state", "state/badger", "upgrade", "vnode/bridge", "vnode/lan", "vnode/qemu", "vnode/sim"},
	"sshd":           {"auth", "commands", "fault"},
	"commands":       {"api", "auth", "await", "consent", "console", "ethernet", "fault", "history", "images", "journal", "nodelogs", "nodes", "remote"},
	"api":            {"auth", "ethernet", "history", "images", "journal", "nodes", "power"},
	"nodes":          {"auth", "await", "consent", "console", "ethernet", "fault", "history", "host", "images", "journal", "pause", "power", "remote", "state"},
	"reach":          {"auth", "fault", "journal", "nodes", "state"},
	"images":         {"auth", "consent", "fault", "images/content", "images/source", "journal", "pause", "state"},
	"images/content": {"fault", "images/flight"},
	"images/source":  {"fault", "images/content", "images/flight", "pause"},
	"images/flight":  {},
	"history":        {"auth", "fault", "state"},
	"auth":           {"fault", "journal", "state"},
	"consent":        {"auth"},
	"journal":        {"fault", "state"},
	"vnode/sim":      {"fault", "images", "images/content", "nodes", "pause"},
	"vnode/lan":      {"crowd", "ethernet", "host", "names", "pause"},
	"vnode/bridge":   {"ethernet", "fault"},
	"names":          {},
	"crowd":          {},
	"vnode/qemu":     {"console", "ethernet", "fault", "netboot", "nodes", "pause", "vnode/bridge", "vnode/lan"},
	"netboot":        {"ethernet", "fault", "images", "images/content", "images/flight", "netboot/dhcp", "netboot/initrd", "netboot/instructions", "netboot/nfs", "nodes", "pause", "state"},
	"netboot/boards": {"crowd", "ethernet", "fault", "images", "images/content", "names", "netboot", "netboot/dhcp", "netboot/sntp", "netboot/tftp", "nodes", "pause", "state"},
	"netboot/dhcp":   {"ethernet"},
	"netboot/nic":    {"crowd", "fault"},
	"netboot/sntp":   {},
	"netboot/tftp":   {},
	"netboot/initrd": {},
	"netboot/nfs":    {"images/content"},
	"demo":           {"auth", "config", "consent", "ethernet", "fault", "images", "nodes"},
	"hostkeys":       {"fault"},
	"backup":         {"fault"},
	"console":        {"ethernet", "fault", "host", "pause"},
	"power":          {"await", "ethernet", "fault", "journal", "pause", "power/driver", "power/snmp", "state"},
	"power/snmp":     {"fault", "pause"},
	"power/driver":   {"await", "fault", "pause"},
	"config":         {"fault", "images", "power/driver", "power/driver/ipmi", "power/driver/pdu", "power/driver/program", "power/driver/redfish", "power/driver/web", "power/snmp"},
	"remote":         {"auth"},
	"reach/files":    {"auth", "consent", "fault", "nodes", "reach/files/wire"},
	"ethernet":       {"fault"},
	"host":           {},
	"state":          {"fault"},
	"state/badger":   {"fault", "state"},
	"upgrade":        {"fault", "state"},
	"fault":          {},
	"pause":          {},
	"await":          {},

	"nodelogs":        {"auth", "ethernet"},
	"nodelogs/intake": {"auth", "ethernet"},

	"power/driver/pdu":     {"fault", "power/driver", "power/snmp"},
	"power/driver/web":     {"fault", "power/driver"},
	"power/driver/ipmi":    {"fault", "power/driver"},
	"power/driver/redfish": {"fault", "power/driver"},

	"power/driver/program": {"fault", "power/driver"},

	"netboot/instructions": {},
	"reach/files/wire":     {},
	"netboot/initrd/pack":  {}, // which make runs

	// What runs on machines that the server boots.
	"netboot/agent": {"netboot/instructions", "reach/files/wire"},

	// What checks the server from outside.
	"state/statetest":     {"state"},
	"images/imagetest":    {},
	"power/powertest":     {"pause", "power", "power/snmp"},
	"power/snmp/snmptest": {},
	"e2e/lab":             {"images/imagetest", "power/snmp/snmptest"},
	"e2e/bench":           {"api", "auth", "commands", "e2e/lab", "images", "images/content", "journal", "netboot/boottest", "netboot/instructions", "netboot/nfs", "nodes", "power", "state", "state/badger"},
	"netboot/boottest":    {},
	"netboot/netboottest": {"ethernet", "images", "images/imagetest", "journal", "netboot", "netboot/boottest", "netboot/instructions", "nodes", "state", "state/badger"},
	"e2e/powercut":        {"e2e/lab"},
}

// owners is the one package of the server that may import each large library, or, where several
// stand for one machine each, those: the others see only what that package makes of it.
var owners = map[string]string{
	"charm.land/wish":                        "sshd",
	"charm.land/ssh":                         "sshd",
	"golang.org/x/term":                      "sshd",
	"github.com/dgraph-io/badger":            "state/badger",
	"github.com/google/go-containerregistry": "images/source",
	"github.com/moby/moby/client":            "images/source",
	"github.com/gosnmp/gosnmp":               "power/snmp",
	"github.com/spf13/pflag":                 "commands",
	"github.com/dustin/go-humanize":          "commands",
	"github.com/gliderlabs/ssh":              "vnode/sim",
	"github.com/pkg/sftp":                    "reach/files vnode/sim",
	"mvdan.cc/sh":                            "vnode/sim",
	"gvisor.dev/gvisor":                      "vnode/lan",
	"github.com/miekg/dns":                   "names",
	"github.com/ulikunitz/xz":                "netboot/initrd",
	"github.com/insomniacslk/dhcp":           "netboot/dhcp",
	"github.com/leodido/go-syslog":           "nodelogs/intake",
}

// outside are the folders that are no part of the server: they drive it, and
// may do so with any library.
var outside = []string{"e2e", "images/imagetest", "netboot/netboottest"}

// vague are names of folders that say nothing of what is in them.
var vague = []string{"pkg", "internal", "util", "utils", "common", "types", "models", "helpers", "misc", "base", "lib"}

func TestLayout(t *testing.T) {
	for file, imported := range sources(t) {
		folder := path.Dir(file)
		allowed, known := imports[folder]
		if !known {
			t.Errorf("%s: %s is not in the table of folders: a new package is a decision about the architecture", file, folder)
			continue
		}
		for _, name := range imported {
			if ours, ok := strings.CutPrefix(name, "walt/"); ok && !slices.Contains(allowed, ours) {
				t.Errorf("%s: %s may import %v of ours, not %s", file, folder, allowed, ours)
			}
			for library, owner := range owners {
				if within(name, library) && !slices.Contains(strings.Fields(owner), folder) && !within(folder, outside...) {
					t.Errorf("%s: %s belongs to %s alone", file, library, owner)
				}
			}
		}
	}
}

func TestFolderNamesSayWhatIsInThem(t *testing.T) {
	for file := range sources(t) {
		for _, part := range strings.Split(path.Dir(file), "/") {
			if slices.Contains(vague, part) {
				t.Errorf("%s: the name %q says nothing", file, part)
			}
		}
	}
}

// sources is every Go file of the module that is not a test, with what it imports.
func sources(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := fs.WalkDir(os.DirFS("."), ".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && file != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir() || path.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		found[file] = nil
		for _, i := range parsed.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			found[file] = append(found[file], name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// within reports whether name is one of the trees or lies below it.
func within(name string, trees ...string) bool {
	return slices.ContainsFunc(trees, func(tree string) bool {
		return name == tree || strings.HasPrefix(name, tree+"/")
	})
}

// TestDependenciesAreExplained wants each direct dependency named in
// ARCHITECTURE.md, which says what it saves and drags in.
func TestDependenciesAreExplained(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`/v[0-9]+$`)
	for line := range strings.Lines(string(mod)) {
		words := strings.Fields(line)
		if len(words) != 2 || !strings.HasPrefix(words[1], "v") { // what is indirect has a comment
			continue
		}
		name := strings.TrimPrefix(version.ReplaceAllString(words[0], ""), "github.com/")
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("ARCHITECTURE.md does not tell of %s", name)
		}
	}
}

// TestTablesAreListed wants each table of the store in the list of
// ARCHITECTURE.md, with the package that declares it, and no other. Package
// upgrade writes tables of others, in the form that they had.
func TestTablesAreListed(t *testing.T) {
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "\n## The tables of the store\n")
	list, _, _ = strings.Cut(list, "\n## ")
	listed := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` .* `([^`]+)` \\|$").FindAllStringSubmatch(list, -1) {
		listed[row[1]] = row[2]
	}
	declared := map[string]string{}
	table := regexp.MustCompile(`state\.NewTable\[.+\]\("([^"]+)"\)`)
	for file := range sources(t) {
		folder := path.Dir(file)
		if folder == "state/statetest" || strings.HasPrefix(file, "upgrade/format") {
			continue
		}
		code, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range table.FindAllStringSubmatch(string(code), -1) {
			if other, twice := declared[found[1]]; twice {
				t.Errorf("%s: %s declares the table %s too", folder, other, found[1])
			}
			declared[found[1]] = folder
		}
	}
	for name, folder := range declared {
		if listed[name] != folder {
			t.Errorf("%s declares the table %s; ARCHITECTURE.md lists it under %q", folder, name, listed[name])
		}
		delete(listed, name)
	}
	for name, folder := range listed {
		t.Errorf("ARCHITECTURE.md lists the table %s of %s, which is not declared", name, folder)
	}
}

// TestNodesAreMapped wants each file of nodes on the page that maps them.
func TestNodesAreMapped(t *testing.T) {
	page, err := os.ReadFile("nodes/doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for file := range sources(t) {
		if dir, name := path.Split(file); dir == "nodes/" && name != "doc.go" && !strings.Contains(string(page), "//\t"+name+" ") {
			t.Errorf("nodes/doc.go does not tell of %s", name)
		}
	}
}
