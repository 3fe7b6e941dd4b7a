package commands

import (
	"github.com/dustin/go-humanize/english"

	"walt/fault"
	"walt/nodes"
)

// troubles are why nodes are off, do not answer, or could not boot. Of many it keeps and
// tells the first: the table has them all.
type troubles struct {
	of     map[trouble]*troubled
	others map[nodes.State]int // how many nodes have yet other reasons
	told   []trouble           // the keys of of, as they came
}

// trouble is a state that nodes are in for the same reason.
type trouble struct {
	state nodes.State
	why   string
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
	name, state, why := n.Doing()
	if why == "" || state != nodes.Off && state != nodes.Unreachable && state != nodes.Failed {
		return
	}
	if t.of == nil {
		t.of, t.others = map[trouble]*troubled{}, map[nodes.State]int{}
	}
	key := trouble{state, why}
	who := t.of[key]
	if who == nil {
		if len(t.of) == mostTroubles {
			t.others[state]++
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
	for _, state := range []nodes.State{nodes.Off, nodes.Unreachable, nodes.Failed} {
		others := t.others[state]
		some := others > 0 // are not named
		for _, key := range t.told {
			if key.state == state {
				who := t.of[key]
				c.note("%s %s: %s.", fault.FewOf(who.first, who.all), doing(state, who.all), key.why)
				some = some || who.all > len(who.first)
			}
		}
		if others > 0 {
			c.note("%s %s for other reasons.", english.Plural(others, "other node", ""), doing(state, others))
		}
		if some {
			c.note("See all in state %s with: node show --all --state %s; add --json to see why each is.", state, state)
		}
	}
}

// doing is what so many nodes do that are in a state.
func doing(s nodes.State, many int) string {
	switch {
	case s == nodes.Failed:
		return "cannot boot"
	case many > 1:
		return "are " + string(s)
	}
	return "is " + string(s)
}
