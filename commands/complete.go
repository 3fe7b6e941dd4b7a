package commands

import (
	"context"
	"slices"
	"strings"

	"walt/auth"
	"walt/images"
	"walt/nodes"
)

// GoesOn is what a word that Complete returns ends in when it can go on.
const GoesOn = ",=:@+"

// Complete returns the words that could stand where the last word of line was
// begun, and where in line, in bytes, they would begin. One that can go on ends in one of GoesOn.
func (a *App) Complete(ctx context.Context, s *Session, line string) (start int, words []string) {
	start = strings.LastIndexAny(line, " \t") + 1
	before, word := strings.Fields(line[:start]), line[start:]
	if len(before) > 0 && before[0] == "walt" {
		before = before[1:]
	}
	c := &Call{App: a, Session: s}
	cmd, rest, ok := a.lookup(before)
	if !ok || len(rest) == 0 {
		words = a.nextWords(before)
	}
	if ok {
		c.cmd = cmd
		if name, value, with := strings.Cut(word, "="); with && strings.HasPrefix(name, "--") {
			if f, known := c.flag(name); !known || f.Value == "" {
				return start, nil
			}
			start += len(name) + len("=")
			rest, word = append(rest, name), value
		}
		words = append(words, c.candidates(ctx, rest, word)...)
		if i := strings.IndexByte(word, '=') + 1; i > 0 { // a setting: they are its values
			start += i
			word = word[i:]
		}
	}
	item := lastItem(word)
	start += len(word) - len(item)
	word = item
	words = slices.DeleteFunc(words, func(w string) bool { return !strings.HasPrefix(w, word) })
	slices.Sort(words)
	return start, slices.Compact(words)
}

// lastItem is what is behind the last comma of a list, or the last + of a set.
func lastItem(word string) string { return word[strings.LastIndexAny(word, ",+")+1:] }

// InOrder returns the first of the words in natural order, no more than most. It does not
// sort all of them: there may be very many.
func InOrder(words []string, most int) (first []string) {
	naturally := func(a, b string) int { return nodes.Name(a).Compare(nodes.Name(b)) }
	for _, w := range words {
		if len(first) < most || most > 0 && naturally(w, first[most-1]) < 0 {
			at, _ := slices.BinarySearchFunc(first, w, naturally)
			first = slices.Insert(first[:min(len(first), most-1)], at, w)
		}
	}
	return first
}

// nextWords returns the words that follow the given ones in command paths.
func (a *App) nextWords(before []string) (next []string) {
	for _, cmd := range a.listed() {
		path := strings.Fields(cmd.Path)
		if len(path) > len(before) && slices.Equal(path[:len(before)], before) {
			next = append(next, path[len(before)])
		}
	}
	return next
}

// candidates completes an option, the value of one, or an argument.
func (c *Call) candidates(ctx context.Context, rest []string, word string) []string {
	args := 0
	for i := 0; i < len(rest); i++ {
		if !strings.HasPrefix(rest[i], "-") {
			args++
			continue
		}
		f, ok := c.flag(rest[i])
		if !ok || f.Value == "" {
			continue
		}
		if i++; i == len(rest) {
			return complete(ctx, c, f.Complete, word)
		}
	}
	if c.cmd.Passes && args > 0 {
		return nil
	}
	if strings.HasPrefix(word, "-") {
		words := []string{"--" + helpFlag.Name}
		for _, f := range c.cmd.Flags {
			words = append(words, "--"+f.Name)
		}
		return words
	}
	if n := len(c.cmd.Args); n > 0 && (args < n || c.cmd.Args[n-1].Many) {
		return complete(ctx, c, c.cmd.Args[min(args, n-1)].Complete, word)
	}
	return nil
}

func (c *Call) flag(word string) (Flag, bool) {
	for _, f := range c.cmd.Flags {
		if word == "--"+f.Name || f.Short != "" && word == "-"+f.Short {
			return f, true
		}
	}
	return Flag{}, false
}

func complete(ctx context.Context, c *Call, by completer, word string) []string {
	if by == nil {
		return nil
	}
	return by(ctx, c, word)
}

// The completers follow. When the store cannot be read, they have no candidates.

func completeDevice(ctx context.Context, c *Call, word string) []string {
	return completeName(ctx, c, "", word)
}

func completeNode(ctx context.Context, c *Call, word string) []string {
	return completeName(ctx, c, nodes.Node, word)
}

// among inserts words into sorted names: sorting very many again takes much longer.
func among(names []string, words ...string) []string {
	for _, w := range words {
		at, _ := slices.BinarySearch(names, w)
		names = slices.Insert(names, at, w)
	}
	return names
}

// completeName completes the last name of a set, of devices of a kind or of all.
func completeName(ctx context.Context, c *Call, kind nodes.Kind, word string) []string {
	names, err := c.Lab.Names(ctx, kind, lastItem(word))
	if err != nil {
		return nil
	}
	return names
}

func completeSet(ctx context.Context, c *Call, word string) []string {
	return c.completeWord(ctx, word, func(word string) []string {
		return among(completeNode(ctx, c, word), "my-nodes", "free-nodes", "all-nodes")
	})
}

// completeOthers completes a set of nodes that are not the user's.
func completeOthers(ctx context.Context, c *Call, word string) []string {
	return without(completeSet(ctx, c, word), append(c.namesOf(ctx, c.User), "my-nodes")...)
}

// completeOwned completes a set of nodes that are somebody else's.
func completeOwned(ctx context.Context, c *Call, word string) []string {
	return without(completeOthers(ctx, c, word), append(c.namesOf(ctx, auth.Nobody), "free-nodes")...)
}

// namesOf returns the names of the nodes of a user.
func (c *Call) namesOf(ctx context.Context, owner auth.Name) (names []string) {
	theirs, _ := c.Lab.Mine(ctx, owner)
	for name := range theirs.Names() {
		names = append(names, string(name))
	}
	return names
}

// completeWord completes the last word of a set: one like tag:x, or what others returns.
func (c *Call) completeWord(ctx context.Context, word string, others func(string) []string) []string {
	item := lastItem(word)
	rest, not := strings.CutPrefix(item, "not:")
	var words []string
	if by, _, is := strings.Cut(rest, ":"); is {
		for _, known := range c.known(ctx, by) {
			words = append(words, by+":"+known)
		}
	} else {
		words = others(rest)
		for _, by := range nodes.SetWords() {
			words = among(words, by+":")
		}
	}
	if !not {
		return among(words, "not:")
	}
	for i, w := range words {
		words[i] = "not:" + w
	}
	return words
}

func completeTag(ctx context.Context, c *Call, _ string) []string { return c.known(ctx, "tag") }

// known returns what there is to say behind tag: and its like.
func (c *Call) known(ctx context.Context, by string) (names []string) {
	switch by {
	case "tag":
		names, _ = c.Lab.Tags(ctx) // without the store there are no candidates
	case "model":
		names, _ = c.knownModels(ctx)
	case "user":
		names, _ = c.knownUsers(ctx)
	case "state":
		names, _ = knownStates(ctx)
	case "job":
		mine, _ := c.Lab.Mine(ctx, c.User)
		for d := range mine.Found() {
			if job := d.Remarks().Job; job != "" {
				names = append(names, string(job))
			}
		}
	}
	return names
}

// completeOwn completes a set of nodes that may only be the user's own.
func completeOwn(ctx context.Context, c *Call, _ string) []string {
	words := []string{"my-nodes"}
	for _, job := range c.known(ctx, "job") {
		words = append(words, "job:"+job)
	}
	return append(words, c.namesOf(ctx, c.User)...)
}

func completeDeviceSet(ctx context.Context, c *Call, word string) []string {
	return c.completeWord(ctx, word, func(word string) []string { return among(completeDevice(ctx, c, word), nodes.Keywords()...) })
}

// completeRecorded completes a set of devices but the server, of which there is no record.
func completeRecorded(ctx context.Context, c *Call, word string) []string {
	return without(completeDeviceSet(ctx, c, word), "server", "not:server")
}

func completeIssuers(ctx context.Context, c *Call, word string) []string {
	return among(completeDeviceSet(ctx, c, word), completeUser(ctx, c, word)...)
}

func completeModel(ctx context.Context, c *Call, _ string) []string {
	models, err := c.knownModels(ctx)
	if err != nil {
		return nil
	}
	return models
}

func completeImage(ctx context.Context, c *Call, _ string) []string {
	mine, _, err := c.Images.WorkingSet(ctx, c.User)
	if err != nil {
		return nil
	}
	var names []string
	for _, img := range mine {
		names = append(names, img.Ref.Short())
	}
	return names
}

func completeBootable(ctx context.Context, c *Call, word string) []string {
	return append(completeImage(ctx, c, word), "default")
}

func completeLink(ctx context.Context, c *Call, _ string) []string {
	all, err := c.Images.All(ctx)
	if err != nil {
		return nil
	}
	var links []string
	for _, img := range all {
		links = append(links, "walt:"+img.Ref.String())
	}
	return links
}

func completeUser(ctx context.Context, c *Call, _ string) []string {
	names, err := c.knownUsers(ctx)
	if err != nil {
		return nil
	}
	return names
}

// completeOther completes a user who is another one.
func completeOther(ctx context.Context, c *Call, word string) []string {
	return without(completeUser(ctx, c, word), string(c.User))
}

// completeMates completes users, joined by commas, or all or none, which stand alone.
func completeMates(ctx context.Context, c *Call, word string) []string {
	others, named := completeOther(ctx, c, word), strings.Split(word, ",")
	if len(named) == 1 {
		return append(others, string(auth.Everybody), "none")
	}
	return without(others, named[:len(named)-1]...)
}

// without is what is left of words when some are taken away.
func without(words []string, gone ...string) []string {
	return slices.DeleteFunc(words, func(w string) bool { return slices.Contains(gone, w) })
}

func completeKey(ctx context.Context, c *Call, _ string) []string {
	me, err := c.Users.Get(ctx, auth.Name(c.User))
	if err != nil {
		return nil
	}
	var prints []string
	for _, k := range me.Keys {
		prints = append(prints, k.Fingerprint)
	}
	return prints
}

func completeRegistry(_ context.Context, c *Call, _ string) []string {
	return slices.DeleteFunc(c.Library.Locations(), func(l string) bool { return l == images.Docker })
}

// completeReplaced completes the default images that have a version to put back.
func completeReplaced(ctx context.Context, c *Call, _ string) []string {
	all, err := c.Images.Replaced(ctx)
	if err != nil {
		return nil
	}
	var names []string
	for _, ref := range all {
		names = append(names, ref.Short())
	}
	return names
}

func completeJob(ctx context.Context, c *Call, _ string) []string {
	all, err := c.Images.Jobs(ctx)
	if err != nil {
		return nil
	}
	var ids []string
	for _, job := range all {
		ids = append(ids, job.ID)
	}
	return ids
}
