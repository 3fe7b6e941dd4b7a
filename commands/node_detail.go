package commands

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"walt/fault"
	"walt/images"
	"walt/nodes"
)

// showsOne reports whether a line asks for one node by its name: then there is room
// for more than a row.
func (c *Call) showsOne() bool {
	_, err := nodes.ParseName(c.arg(0))
	return err == nil
}

// nodeDetail tells of one node what the table has no room for.
func (c *Call) nodeDetail(ctx context.Context, n nodes.DeviceStatus) error {
	d, err := c.Lab.Detail(ctx, c.User, c.Admin, n)
	if err != nil {
		return err
	}
	rows := [][2]string{{"host", d.Host.String()}, {"mac", string(d.MAC)}}
	add := func(what, text string) {
		if text != "" {
			rows = append(rows, [2]string{what, text})
		}
	}
	add("address", d.IP())
	add("runs", c.runs(d))
	add("step", stepOf(d.Status, c.Now()))
	if d.Room > 0 {
		add("written", fmt.Sprintf("%s of %s", size(d.Written), size(d.Room)))
	}
	add("reason", d.Why)
	add("serial", c.serial(*d.Device))
	add("tags", strings.Join(d.Tags(), ", "))
	add("retired", c.retired(d.Retired()))
	if until := d.Remarks().Until; !until.IsZero() {
		add("until", c.instant(until)+" ("+in(c.Now(), until)+")")
	}
	add("job", string(d.Remarks().Job))
	add("note", d.Remarks().Note)
	if mates := d.Remarks().Mates; len(mates) > 0 {
		add("mates", nodes.SharedWith(mates))
	}
	add("exposed", c.exposed(d))
	add("asked for", c.asks(d.Remarks().Asks))
	if d.Verdict.Rounds > 0 {
		add("tested", testWords(d.Verdict))
	}
	power, err := c.fedBy(ctx, d.Device)
	if err != nil {
		return err
	}
	add("power", power)
	c.lines(func(w io.Writer) {
		fmt.Fprintln(w)
		c.facts(w, rows)
		c.trail(w, d.Trail)
		if len(d.Console) > 0 {
			fmt.Fprintln(w, "\nThe last of its console:")
		}
		for _, text := range d.Console {
			fmt.Fprintln(w, "    | "+clean(text))
		}
	})
	return nil
}

// fedBy tells which outlets feed a node, what they say now, and what else they feed, as in
// "rack1:7 (on); rack1:7 also feeds rpi-4"; of one that packets wake as in "wol (off)"; ""
// where it is neither.
func (c *Call) fedBy(ctx context.Context, d *nodes.Device) (string, error) {
	is, fed, err := c.Lab.PowerOf(ctx, d)
	if err != nil || !fed {
		return "", err
	}
	words := is.Outlet + " (" + cmp.Or(is.State, is.Power)
	if why := is.Trouble(func(t time.Time) string { return ago(c.Now(), t) }); why != "" {
		words += ": " + why
	}
	words += ")"
	also, err := c.alsoFeeds(ctx, d)
	if also != "" {
		words += "; " + also
	}
	return words, err
}

// alsoFeeds tells what else the outlets of a node feed, as in "rack1:7 also feeds rpi-4"; "" if
// nothing.
func (c *Call) alsoFeeds(ctx context.Context, d *nodes.Device) (string, error) {
	others, err := c.Lab.FedWith(ctx, []nodes.Name{d.Name})
	if err != nil || len(others) == 0 {
		return "", err
	}
	return others[0].Shared + " also feeds " + fault.Few(others[0].Others), nil
}

// serial tells where the serial line of a board is, and whether it is connected.
func (c *Call) serial(d nodes.Device) string {
	at, why := c.Lab.SerialState(d)
	switch {
	case at == "":
		return ""
	case why != "":
		return at + " (not connected: " + why + ")"
	}
	return at + " (connected)"
}

// exposed tells at which ports of the server a node is, as in "8080 (port 80)".
func (c *Call) exposed(d nodes.Detail) string {
	var all []string
	for _, e := range d.Remarks().Exposed {
		words := fmt.Sprintf("port %d at port %d of the server", e.To, e.Port)
		if why := c.Lab.NotOpen(e.Port); why != "" {
			words += " (" + why + ")"
		} else if d.State != nodes.Up {
			words += " (closed until it is up)"
		}
		all = append(all, words)
	}
	return strings.Join(all, ", ")
}

// asks tells who would like to have a node, as in `carol (2 minutes ago): "for a demo"`.
func (c *Call) asks(asks []nodes.Ask) string {
	var all []string
	for _, a := range asks {
		words := fmt.Sprintf("by %s (%s)", a.By, ago(c.Now(), a.Since))
		if a.Text != "" {
			words += fmt.Sprintf(": %q", a.Text)
		}
		all = append(all, words)
	}
	return strings.Join(all, ", ")
}

// stepOf is how far the boot of a node is that is not up, as in "loaded its kernel 12 s ago,
// has not mounted its root"; "" of others.
func stepOf(s nodes.Status, now time.Time) string {
	done, still := s.Step.Reached()
	switch {
	case s.Step == "", s.State == nodes.Up:
		return ""
	case still != "":
		still = ", " + still
	}
	if s.Preparing {
		still = ", and the server makes ready what it boots"
	}
	return done + " " + spell(now.Sub(s.StepSince)) + " ago" + still
}

// spell is a length of time for people, as in 12 s or 3 min.
func spell(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// trail tells the steps of a node's last boot and what was sent for each, and which files
// it did not get.
func (c *Call) trail(w io.Writer, t nodes.Trail) {
	var begun time.Time
	var rows [][]string
	for _, l := range t.Legs {
		row := []string{"    " + string(l.Step), "", "", ""}
		switch {
		case l.At.IsZero():
			row[1] = "not yet"
		case begun.IsZero():
			begun = l.At
			row[1] = l.At.Format("2006-01-02 15:04:05")
		default:
			row[1] = fmt.Sprintf("%.1f s later", l.At.Sub(begun).Seconds())
		}
		if l.Bytes > 0 {
			row[2] = size(l.Bytes)
		}
		if rate := l.Rate(); rate > 0 {
			row[3] = size(rate) + "/s"
		}
		rows = append(rows, row)
	}
	told := func(l nodes.Leg) bool { return l.Step != nodes.StepNone && l.Step != nodes.StepUp } // else there is nothing new in it
	if slices.ContainsFunc(t.Legs, told) {
		fmt.Fprintln(w, "\nThe steps of its last boot:")
		columns(w, c.table(), false, nil, rows)
	}
	if len(t.Refused) > 0 {
		fmt.Fprintln(w, "\nWhat it asked for in vain:")
	}
	for _, r := range t.Refused {
		times := ""
		if r.Times > 1 {
			times = fmt.Sprintf(" (%d times)", r.Times)
		}
		line := fmt.Sprintf("    %s  %s: %s%s", r.At.Format("15:04:05"), clean(r.File), clean(r.Why), times)
		if width := c.width(); width > 0 {
			line = c.fold(line, width, len("    15:04:05  "))
		}
		fmt.Fprintln(w, line)
	}
}

// runs says what runs on a node, and what it is to boot when that is something else.
func (c *Call) runs(d nodes.Detail) string {
	is := d.Running()
	next := "reboots into " + c.nameOf(d.Next)
	switch {
	case is.Digest == "":
		return ""
	case is.Image == d.Next.Ref && is.Digest == d.Next.Digest:
		return c.nameOf(d.Next)
	case is.Image == d.Next.Ref:
		return "an earlier " + c.nameOf(images.Image{Ref: is.Image}) + ", " + next
	case is.Image == images.Ref{}:
		return shortDigest(is.Digest) + ", " + next
	}
	return c.nameOf(images.Image{Ref: is.Image}) + ", " + next
}

// facts writes what is said of one thing, each with its name in front. On a terminal
// it is broken between words to fit the width.
func (c *Call) facts(w io.Writer, rows [][2]string) {
	column := 0
	for _, r := range rows {
		column = max(column, cellsOf(r[0])+2)
	}
	for _, r := range rows {
		line := strings.TrimRight(r[0]+strings.Repeat(" ", column-cellsOf(r[0]))+clean(r[1]), " ")
		if width := c.width(); width > 0 {
			line = c.fold(line, width, column)
		}
		fmt.Fprintln(w, line)
	}
}
