package commands

import (
	"context"
	"strings"

	"walt/api"
	"walt/history"
)

func logMark(ctx context.Context, c *Call) error {
	name := strings.TrimPrefix(c.arg(0), "@")
	if err := history.ParseMark(name); err != nil {
		return err
	}
	if c.on("remove") {
		if err := c.History.Unmark(ctx, c.User, name); err != nil {
			return err
		}
		c.say("@%s is no mark any more", name)
		return nil
	}
	m := history.Mark{Name: name, Time: c.Now().UTC()}
	if err := c.History.Mark(ctx, c.User, m); err != nil {
		return err
	}
	c.say("@%s is %s UTC", name, m.Time.Format("2006-01-02 15:04:05.000"))
	return nil
}

func logMarks(ctx context.Context, c *Call) error {
	all, err := c.History.Marks(ctx, c.User)
	if err != nil {
		return err
	}
	if c.on("json") {
		return c.print(api.Marks{Marks: append([]history.Mark{}, all...)})
	}
	if len(all) == 0 {
		c.note("You have no marks. Mark this moment with: log mark @NAME")
		return nil
	}
	var rows [][]string
	for _, m := range all {
		rows = append(rows, []string{"@" + m.Name, m.Time.Format("2006-01-02 15:04:05.000")})
	}
	c.rows([]string{"MARK", "TIME (UTC)"}, rows)
	return nil
}

// completeMark completes the marks of the user.
func completeMark(ctx context.Context, c *Call, _ string) (names []string) {
	all, err := c.History.Marks(ctx, c.User)
	if err != nil {
		return nil
	}
	for _, m := range all {
		names = append(names, "@"+m.Name)
	}
	return names
}

// completeRange completes a range of times that begins with a mark, or ends with one.
func completeRange(ctx context.Context, c *Call, word string) (ranges []string) {
	from, _, has := strings.Cut(word, "..")
	for _, mark := range completeMark(ctx, c, "") {
		if has {
			ranges = append(ranges, from+".."+mark)
		} else {
			ranges = append(ranges, mark+"..")
		}
	}
	if !has {
		ranges = append(ranges, "full", "none")
	}
	return ranges
}
