package initrd

import (
	"errors"
	"io/fs"
	"path"
	"strings"
)

// module is one file of modules.dep.
type module struct {
	name string   // with underscores
	file string   // in the directory of modules
	deps []string // files that must be loaded before, the first one last
}

// alias is what modules.alias says: devices that match the pattern want the module.
type alias struct {
	pattern string
	name    string
}

// modules is what depmod wrote about the modules of a kernel.
type modules struct {
	list    []module
	byName  map[string]int // index in list
	byFile  map[string]int
	builtin map[string]bool
	aliases []alias
	soft    map[string][]string // names and aliases that a module wants, too
}

// readModules reads what is said in a directory of modules.
func readModules(tree fs.FS, dir string) (modules, error) {
	var texts [4]string
	for i, name := range []string{"modules.dep", "modules.builtin", "modules.alias", "modules.softdep"} {
		b, err := read(tree, path.Join(dir, name), 32<<20)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return modules{}, err
		}
		if err != nil && i == 0 {
			return modules{}, &IndexError{dir}
		}
		texts[i] = string(b)
	}
	return parseModules(dir, texts[0], texts[1], texts[2], texts[3]), nil
}

// parseModules takes lines that are as they must be, and leaves out others.
func parseModules(dir, dep, builtin, alias, soft string) modules {
	m := modules{byName: map[string]int{}, byFile: map[string]int{}, builtin: map[string]bool{}, soft: map[string][]string{}}
	for line := range strings.Lines(dep) {
		m.addDep(dir, line)
	}
	for line := range strings.Lines(builtin) {
		if name := moduleName(strings.TrimSpace(line)); name != "" {
			m.builtin[name] = true
		}
	}
	for line := range strings.Lines(alias) {
		m.addAlias(line)
	}
	for line := range strings.Lines(soft) {
		words := strings.Fields(line)
		if len(words) < 3 || words[0] != "softdep" {
			continue
		}
		for _, word := range words[2:] {
			if word != "pre:" && word != "post:" {
				name := underscores(words[1])
				m.soft[name] = append(m.soft[name], word)
			}
		}
	}
	return m
}

// addDep adds a line of modules.dep, "FILE: FILE...".
func (m *modules) addDep(dir, line string) {
	file, rest, ok := strings.Cut(line, ":")
	if !ok {
		return
	}
	clean := func(file string) string { // old versions of depmod write whole paths
		return strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(file), "/"), dir+"/")
	}
	file = clean(file)
	name := moduleName(file)
	if _, twice := m.byFile[file]; twice || name == "" || !fs.ValidPath(file) {
		return
	}
	one := module{name: name, file: file}
	for _, dep := range strings.Fields(rest) {
		one.deps = append(one.deps, clean(dep))
	}
	m.byFile[file] = len(m.list)
	if _, twice := m.byName[name]; !twice {
		m.byName[name] = len(m.list)
	}
	m.list = append(m.list, one)
}

// lost returns what a module depends on that is not among the modules.
func (m *modules) lost(i int) (names []string) {
	for _, file := range m.list[i].deps {
		if _, ok := m.byFile[file]; !ok {
			names = append(names, moduleName(file))
		}
	}
	return names
}

// addAlias adds a line of modules.alias, "alias PATTERN MODULE".
func (m *modules) addAlias(line string) {
	if rest, ok := strings.CutPrefix(line, "alias "); ok {
		if pattern, name, ok := strings.Cut(strings.TrimSpace(rest), " "); ok && !strings.Contains(name, " ") {
			m.aliases = append(m.aliases, alias{pattern, underscores(name)})
		}
	}
}

// moduleName is the name of the module in a file, empty if it is none.
func moduleName(file string) string {
	name, suffix, ok := strings.Cut(path.Base(file), ".ko")
	if !ok || name == "" {
		return ""
	}
	switch suffix {
	case "", ".gz", ".xz", ".zst":
		return underscores(name)
	}
	return ""
}

func underscores(name string) string { return strings.ReplaceAll(name, "-", "_") }
