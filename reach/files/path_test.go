package files

import (
	"strings"
	"testing"

	"walt/fault"
)

func TestParsePath(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]place{
		"":                         {},
		"/":                        {},
		".":                        {},
		"..":                       {},
		"/../../":                  {},
		"rpi-3":                    {"rpi-3", "/", true},
		"/rpi-3/":                  {"rpi-3", "/", true},
		"//rpi-3/./":               {"rpi-3", "/", true},
		"/rpi-3/etc/hosts":         {"rpi-3", "/etc/hosts", false},
		"rpi-3/etc/":               {"rpi-3", "/etc/", false},
		"rpi-3//etc//hosts":        {"rpi-3", "/etc//hosts", false},
		"rpi-3/a:b":                {"rpi-3", "/a:b", false},
		"rpi-3:/etc/hosts":         {"rpi-3", "/etc/hosts", false},
		"/rpi-3:/":                 {"rpi-3", "/", false},
		"rpi-3:notes":              {"rpi-3", "notes", false},
		"rpi-3:notes/":             {"rpi-3", "notes/", false},
		"rpi-3:~/notes":            {"rpi-3", "notes", false},
		"rpi-3:~":                  {"rpi-3", ".", false},
		"rpi-3:~/":                 {"rpi-3", ".", false},
		"rpi-3:~bob/x":             {"rpi-3", "~bob/x", false},
		"rpi-3:../etc":             {"rpi-3", "../etc", false}, // where that leads says the node
		"rpi-3:/../../etc":         {"rpi-3", "/../../etc", false},
		"rpi-3/etc/../../rpi-4/x":  {"rpi-3", "/etc/../../rpi-4/x", false}, // etc may be a link there
		"rpi-3/../rpi-4/x":         {"rpi-4", "/x", false},
		"rpi-3/../../etc":          {"etc", "/", true}, // a folder, if there is one of that name
		"rpi-3/..":                 {},
		"image@tiny/etc/fstab":     {"image@tiny", "/etc/fstab", false},
		"image@tiny:/etc/fstab":    {"image@tiny", "/etc/fstab", false},
		"image@tiny:v2/etc/fstab":  {"image@tiny:v2", "/etc/fstab", false},
		"image@tiny:v2:/etc/fstab": {"image@tiny:v2", "/etc/fstab", false},
		"image@../x":               {"image@..", "/x", false}, // no image has that name
		"image@bob/tiny":           {"image@bob", "/tiny", false},
		"\xff/x":                   {"\xff", "/x", false},
	} {
		if at, err := parsePath([]byte(name)); err != nil || at != want {
			t.Errorf("%q is %+v, %v; not %+v", name, at, err, want)
		}
	}
	for name, want := range map[string]string{
		"rpi-3/a\x00b":                       "zero byte",
		"rpi-3/" + strings.Repeat("a", 4096): "too long",
		"rpi-3:":                             "the path of \"rpi-3:\" is missing",
		":/etc":                              "the node of \":\" is missing",
	} {
		if at, err := parsePath([]byte(name)); fault.As(err) == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q is %+v, %v", name, at, err)
		}
	}
}

// Whatever the path, a folder is one name, and what its server is asked for is neither nothing
// nor longer than it was.
func FuzzParsePath(f *testing.F) {
	for _, name := range []string{"rpi-3:/root/x", "/rpi-3/../../etc", "image@a:b:/c", "image@../x", "rpi-3:~/x", "a\x00", "//..//.", ":", "image@:", "\xff\xfe"} {
		f.Add([]byte(name))
	}
	f.Fuzz(func(t *testing.T, name []byte) {
		at, err := parsePath(name)
		switch {
		case err != nil:
			if fault.As(err) == nil || len(err.Error()) > 500 {
				t.Errorf("%q: %v", name, err)
			}
		case at.folder == "" && (at.path != "" || at.top):
			t.Errorf("%q is %+v", name, at)
		case strings.Contains(at.folder, "/") || at.folder == "." || at.folder == "..":
			t.Errorf("%q is in the folder %q", name, at.folder)
		case at.folder != "" && (at.path == "" || len(at.path) > len(name)+1 || strings.Contains(at.path, "\x00")):
			t.Errorf("%q is the path %q", name, at.path)
		}
	})
}
