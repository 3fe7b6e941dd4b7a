package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"walt/ethernet"
	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/nodes"
	"walt/power"
	"walt/state/badger"
	"walt/upgrade"
)

// waltDevice is a device as WalT, or a list in CSV, has it.
type waltDevice struct {
	line             int // that has its MAC address
	name, mac, model string
	kind             string // as in "node (physical)", "switch", "server"; "" when it is not told
}

// waltLimit is how many bytes such a list has at most.
const waltLimit = 16 << 20

// importCommand is "waltd import-walt": devices of WalT in the data of a stopped server.
func importCommand(ctx context.Context, args []string) (err error) {
	s := newSettings("import-walt")
	apply := s.flags.Bool("apply", false, "")
	names, err := s.parse(args, "FILE")
	if err != nil {
		return err
	}
	c, err := s.load()
	if err != nil {
		return err
	}
	found, err := readWalT(names[0])
	if err != nil {
		return err
	}
	wanted, lines, notes, wrong := announced(found)
	if _, err := os.Stat(stateDir(c.Data)); err != nil { // Open would make one
		return fault.Failedf("there are no data to import into: %v", err).WithHint("start and stop a server once, or name its data directory with --data DIR")
	}
	log := slog.New(slog.DiscardHandler)
	store, err := badger.Open(stateDir(c.Data), log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if *apply {
		if err := upgrade.Run(ctx, store, log); err != nil {
			return err
		}
	}
	j := journal.New(store, time.Now)
	lab := nodes.New(nodes.Config{
		Store: store, Journal: j, Log: log, Now: time.Now,
		Images: images.NewCatalog(images.Config{Store: store, Journal: j, Log: log, Now: time.Now}),
		Ports:  power.New(power.Config{Store: store, Journal: j, Log: log, Now: time.Now}),
	})
	done, err := lab.Import(ctx, journal.Server, wanted, !*apply || len(wrong) > 0)
	if err != nil {
		return err
	}
	for i, d := range done {
		if d.Wrong != nil {
			wrong = append(wrong, fmt.Sprintf("line %d: %s", lines[i], fault.Line(d.Wrong)))
		}
	}
	for _, note := range append(notes, wrong...) {
		fmt.Println(note)
	}
	if len(wrong) > 0 {
		return fault.Failedf("%s of %s cannot be imported; nothing changed", counted(len(wrong), "line"), names[0]).WithHint("change these lines, or leave them out, and try again")
	}
	added := 0
	for i, a := range wanted {
		what := "add"
		if done[i].Known {
			what = "here already:"
		} else {
			added++
		}
		fmt.Println(strings.TrimSpace(fmt.Sprintf("%s %s %s %s", what, a.Name, a.MAC, a.Model)))
	}
	switch {
	case added == 0:
		fmt.Fprintf(os.Stderr, "waltd: all devices of %s are in %s already; nothing changed\n", names[0], c.Data)
	case !*apply:
		fmt.Fprintf(os.Stderr, "waltd: %s can be imported; nothing changed\n  do it with the option --apply before the file\n", counted(added, "device"))
	default:
		fmt.Fprintf(os.Stderr, "waltd: imported %s into %s\n", counted(added, "device"), c.Data)
	}
	return nil
}

// counted is a number of things, as in "2 lines".
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// readWalT reads a list of devices: what "walt device show" and "walt node show --all"
// print, one behind the other, or CSV.
func readWalT(name string) ([]*waltDevice, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fault.Failedf("cannot read the list of devices: %v", err).WithHint("name a file with what \"device show\" and \"node show --all\" of WalT print")
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, waltLimit+1))
	if err == nil && len(b) > waltLimit {
		err = fmt.Errorf("%s has more than %d MiB", name, waltLimit>>20)
	}
	if err != nil {
		return nil, fault.Failedf("cannot read the list of devices: %v", err)
	}
	text := strings.TrimPrefix(string(b), "\ufeff")
	if strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff") {
		return nil, fault.Failedf("%s is UTF-16 text", name).WithHint("convert it: iconv -f UTF-16 -t UTF-8 %s", name)
	}
	var found []*waltDevice
	if comma := commaOf(text); comma != 0 {
		found, err = parseCSV(text, comma)
	} else {
		found = parseTables(text)
	}
	if err == nil && len(found) == 0 {
		err = fault.Failedf("%s has no devices", name).
			WithHint("it is to have what \"device show\" and \"node show --all\" of WalT print,\nor CSV whose first line is: name,mac,model")
	}
	return found, err
}

// escapes are what colours text on a terminal.
var escapes = regexp.MustCompile("\x1b\\[[0-9;]*[A-Za-z]")

// parseTables reads tables of WalT: a line with the names of columns, one with a dash for
// each of their characters, and rows up to an empty line. Of a device one table has the MAC
// address, and another one the model.
func parseTables(text string) []*waltDevice {
	known := map[string]*waltDevice{}
	var found []*waltDevice
	lines := strings.Split(escapes.ReplaceAllString(strings.ReplaceAll(text, "\r", ""), ""), "\n")
	for i := 1; i < len(lines); i++ {
		if !strings.HasPrefix(lines[i], "--") || strings.Trim(lines[i], "- ") != "" {
			continue
		}
		header := cells(lines[i-1], lines[i])
		rule := lines[i]
		for i++; i < len(lines) && strings.TrimSpace(lines[i]) != ""; i++ {
			row := map[string]string{}
			for n, cell := range cells(lines[i], rule) {
				row[strings.ToLower(header[n])] = cell
			}
			d := known[row["name"]]
			if d == nil {
				d = &waltDevice{line: i + 1, name: row["name"]}
				known[d.name] = d
				found = append(found, d)
			}
			if mac := row["mac"]; mac != "" {
				if d.mac != "" { // another device of this name
					d = &waltDevice{line: i + 1, name: d.name}
					found = append(found, d)
				}
				d.line, d.mac, d.kind = i+1, mac, row["type"]
			}
			if row["model"] != "" {
				d.model = row["model"]
			}
		}
	}
	return found
}

// cells are the parts of a line below the groups of dashes of a rule.
func cells(line, rule string) (all []string) {
	text := []rune(line)
	for start := 0; start < len(rule); {
		end := start
		for end < len(rule) && rule[end] == '-' {
			end++
		}
		all = append(all, strings.TrimSpace(string(text[min(start, len(text)):min(end, len(text))])))
		for start = end; start < len(rule) && rule[start] == ' '; {
			start++
		}
	}
	return all
}

// remark begins lines of CSV that say nothing.
const remark = '#'

// commaOf is what is between the columns of a list in CSV, as spreadsheets of some countries
// write it; 0 when it is none, since its first line names no column mac.
func commaOf(text string) rune {
	for line := range strings.Lines(text) {
		line = strings.ToLower(strings.TrimSpace(line))
		if line == "" || line[0] == remark {
			continue
		}
		for _, comma := range ",;\t" {
			if slices.ContainsFunc(strings.Split(line, string(comma)), func(column string) bool { return strings.Trim(column, ` "`) == "mac" }) {
				return comma
			}
		}
		break
	}
	return 0
}

// parseCSV reads a list whose first line names the columns: name, mac, and model or type.
func parseCSV(text string, comma rune) (found []*waltDevice, err error) {
	r := csv.NewReader(strings.NewReader(text))
	r.Comma, r.Comment, r.FieldsPerRecord, r.TrimLeadingSpace = comma, remark, -1, comma != '\t' // else empty columns would go
	var header []string
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, fault.Failedf("the list is no CSV: %v", err).WithHint("change that line; its first line is: name,mac,model")
		}
		if header == nil {
			for _, h := range record {
				header = append(header, strings.ToLower(strings.TrimSpace(h)))
			}
			continue
		}
		row := map[string]string{}
		for i, cell := range record[:min(len(record), len(header))] {
			row[header[i]] = strings.TrimSpace(cell)
		}
		line, _ := r.FieldPos(0)
		d := &waltDevice{line: line, name: row["name"], mac: row["mac"], model: row["model"], kind: row["type"]}
		if _, told := row["model"]; !told && isModel(d.kind) {
			d.model, d.kind = d.kind, ""
		}
		found = append(found, d)
	}
}

// isModel reports whether a type is none of WalT's kinds of devices.
func isModel(kind string) bool {
	return kind != "" && !slices.Contains([]string{"node", "switch", "server", "unknown"}, kind) && !strings.Contains(kind, " ")
}

// announced turns a list into what is to be added, with the line of each; and says what is
// left out, and which lines are wrong.
func announced(found []*waltDevice) (wanted []nodes.Announcement, lines []int, notes, wrong []string) {
	seen := map[string]int{}
	for _, d := range found {
		note := func(format string, args ...any) { notes = append(notes, d.name+": "+fmt.Sprintf(format, args...)) }
		switch d.kind {
		case "server":
			note("left out: it is a server")
			continue
		case "node (virtual)":
			note("left out: it is virtual; make one here with: node create NAME")
			continue
		case "node (vpn)":
			note("left out: nodes behind VPNs are not served")
			continue
		}
		a, err := d.announce()
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("line %d: %s", d.line, fault.Line(err)))
			continue
		}
		for _, key := range []string{string(a.Name), string(a.MAC)} {
			if before := seen[key]; before > 0 {
				wrong = append(wrong, fmt.Sprintf("line %d: %s is in line %d, too; leave one of them out", d.line, key, before))
			}
			seen[key] = d.line
		}
		switch {
		case d.kind == "switch":
			note("then: device config %s type=switch", a.Name)
		case a.Model == "":
			note("its model is not told; then: device config %s model=MODEL", a.Name)
		}
		wanted, lines = append(wanted, a), append(lines, d.line)
	}
	return wanted, lines, notes, wrong
}

// announce is a device as the lab takes it.
func (d *waltDevice) announce() (a nodes.Announcement, err error) {
	if a.Name, err = nodes.ParseName(d.name); err != nil {
		return a, err
	}
	if d.mac == "" {
		return a, fault.Usagef("%s has no MAC address", d.name).WithHint("add what \"device show\" of WalT prints")
	}
	if a.MAC, err = ethernet.ParseMAC(d.mac); err != nil {
		return a, err
	}
	if d.model != "" && d.kind != "switch" {
		a.Model, err = images.ParseModel(d.model)
	}
	return a, err
}
