package nodes

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/journal"
)

var tagForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,39}$`)

// mostTags is how many a device has at most.
const mostTags = 30

// ParseTag checks the form of a tag: 1 to 40 of letters, digits, ".", "_" and "-", first a
// letter or a digit. Upper case is folded.
func ParseTag(s string) (string, error) {
	tag := strings.ToLower(s)
	if !tagForm.MatchString(tag) {
		return "", fault.Usagef("invalid tag %.70q", s).WithHint("a tag is 1 to 40 letters, digits, ., _ or -, first a letter or a digit, as in lora or rack-3")
	}
	return tag, nil
}

// Tags returns the tags that devices have, each once, in order.
func (l *Lab) Tags(ctx context.Context) ([]string, error) {
	return read(ctx, l.view, func() (all []string) {
		for _, b := range l.view.all {
			all = append(all, b.device.Tags()...)
		}
		slices.Sort(all)
		return slices.Compact(all)
	})
}

// Tag marks the devices of the set with tags, whoever has them: it disturbs nobody. It
// returns the devices as they are then, those that had the tags already, too.
func (l *Lab) Tag(ctx context.Context, user auth.Name, set Set, tags []string) ([]Device, error) {
	return l.retag(ctx, user, set, func(d *Device) (string, error) {
		fresh := lacking(tags, d.Tags())
		now := slices.Sorted(slices.Values(slices.Concat(d.Tags(), fresh)))
		if len(now) > mostTags {
			f := fault.Failedf("%s would have %d tags, of which %d are possible; nothing changed", d.Name, len(now), mostTags)
			if over := len(now) - mostTags; over <= len(d.Tags()) {
				f = f.WithHint("take some from it, as with: device untag %s %s", d.Name, strings.Join(d.Tags()[:over], ","))
			}
			return "", f
		}
		d.mark(func(m *Marks) { m.Tags = now })
		return words("tagged", fresh), nil
	})
}

// Untag takes tags from those devices of the set that have them, and returns all of them
// as they are then. A tag that no device of the lab has is unknown.
func (l *Lab) Untag(ctx context.Context, user auth.Name, set Set, tags []string) ([]Device, error) {
	known, hint, err := place{ctx: ctx, lab: l}.known(byTag)
	if err != nil {
		return nil, err
	}
	if bad := lacking(tags, known); len(bad) > 0 {
		return nil, fault.Unknown(byTag, bad, known, hint)
	}
	return l.retag(ctx, user, set, func(d *Device) (string, error) {
		left := lacking(d.Tags(), tags)
		gone := lacking(d.Tags(), left)
		d.mark(func(m *Marks) { m.Tags = left })
		return words("untagged", gone), nil
	})
}

// retag changes the tags of the devices of a set. What edit returns is told to the log,
// "" when it changed nothing.
func (l *Lab) retag(ctx context.Context, user auth.Name, set Set, edit func(*Device) (string, error)) (ds []Device, err error) {
	_, err = l.commit(ctx, user.Actor(), consent.Agreement{}, func(c *change) (err error) {
		if ds, err = set.expand(l.stored(ctx, c.tx), user, deviceScope); err != nil {
			return err
		}
		for i := range ds {
			detail, err := edit(&ds[i])
			if err == nil && detail != "" {
				err = c.marked(ds[i], detail)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return ds, err
}

// words is what was done with tags, "" when these are none.
func words(done string, tags []string) string {
	if len(tags) == 0 {
		return ""
	}
	return done + " " + strings.Join(tags, ", ")
}

// lacking returns the words that are not among others, each once, in their order.
func lacking(words, others []string) (rest []string) {
	for _, w := range words {
		if !slices.Contains(others, w) && !slices.Contains(rest, w) {
			rest = append(rest, w)
		}
	}
	return rest
}

// marked writes a device that was marked, and tells the log.
func (c *change) marked(d Device, detail string) error {
	c.told.Record(journal.Event{Type: journal.Registration, Actor: c.actor, Node: string(d.Name), Detail: detail})
	return c.made(devices.Put(c.tx, string(d.Name), d))
}
