package commands

import (
	"slices"

	"github.com/dustin/go-humanize/english"

	"walt/fault"
	"walt/nodes"
)

// troubles are why nodes are off, do not answer, or could not boot. Of many it keeps and
// tells the first: the table has them all.
type troubles struct {
	of     map[trouble]*troubled
	others map[plight]int // how many nodes have yet other reasons
	told   []trouble      // the keys of of, as they came

	retired []retiree // the first fault.MostNames
	out     int       // how many are
}

// retiree is a node that is out of service.
type retiree struct {
	name nodes.Name
	why  *nodes.Retired
}

// plight is what nodes are in that are not as they should be.
type plight struct {
	state  nodes.State
	failed bool // to boot
}

// plights are those that are told of, in this order: those of a state together.
var plights = []plight{{nodes.Off, false}, {nodes.Unreachable, false}, {nodes.Unreachable, true}}

// trouble is what nodes are in for the same reason.
type trouble struct {
	plight
	why string
}

// troubled are the nodes that have a trouble.
type troubled struct {
	first []string // fault.MostNames at most
	all   int
}

// mostTroubles is how many reasons are told.
const mostTroubles = 50

// add adds those of a node that has any.
func (t *troubles) add(n shown) {
	name, s := n.Doing()
	if why := n.OutOfService(); why != nil {
		if t.out++; t.out <= fault.MostNames {
			t.retired = append(t.retired, retiree{name, why})
		}
	}
	in := plight{s.State, s.Failed}
	if s.Why == "" || !slices.Contains(plights, in) {
		return
	}
	if t.of == nil {
		t.of, t.others = map[trouble]*troubled{}, map[plight]int{}
	}
	key := trouble{in, s.Why}
	who := t.of[key]
	if who == nil {
		if len(t.of) == mostTroubles {
			t.others[in]++
			return
		}
		who = &troubled{}
		t.of[key], t.told = who, append(t.told, key)
	}
	if who.all++; len(who.first) < fault.MostNames {
		who.first = append(who.first, string(name))
	}
}

func (t troubles) tell(c *Call) {
	for _, r := range t.retired {
		c.note("%s is retired %s.", r.name, c.retired(r.why))
	}
	if others := t.out - len(t.retired); others > 0 {
		c.note("%s retired; add --json to see why.", english.Plural(others, "other node is", "other nodes are"))
	}
	some := map[nodes.State]bool{} // are not named
	for i, in := range plights {
		for _, key := range t.told {
			if key.plight == in {
				who := t.of[key]
				c.note("%s %s: %s.", fault.FewOf(who.first, who.all), in.words(who.all), key.why)
				some[in.state] = some[in.state] || who.all > len(who.first)
			}
		}
		if others := t.others[in]; others > 0 {
			c.note("%s %s for other reasons.", english.Plural(others, "other node", ""), in.words(others))
			some[in.state] = true
		}
		last := i == len(plights)-1 || plights[i+1].state != in.state
		if last && some[in.state] {
			c.note("See all in state %s with: node show --all --state %s; add --json to see why each is.", in.state, in.state)
		}
	}
}

// words is what so many nodes do.
func (p plight) words(many int) string {
	switch {
	case p.failed:
		return "cannot boot"
	case many > 1:
		return "are " + string(p.state)
	}
	return "is " + string(p.state)
}
