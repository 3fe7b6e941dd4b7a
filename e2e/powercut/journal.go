//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"walt/e2e/lab"
)

// checkJournal sees that the journal tells of each change of the nodes that all
// users reach for: each event begins where the one before it ended, and the last one
// ends with whose the node is.
func checkJournal(l *lab.Lab, people []*person) error {
	out, err := l.Run("", lab.Admin, "log show --history full -n 400 --json --type ownership --issuers 'shared-*'")
	if err != nil {
		return err
	}
	var told struct {
		Events []struct{ Node, From, To string }
	}
	if err := json.Unmarshal([]byte(out), &told); err != nil {
		return fmt.Errorf("the journal: %w", err)
	}
	owner := map[string]string{}
	for _, e := range told.Events {
		if before, known := owner[e.Node]; known && before != e.From {
			return fmt.Errorf("the journal has %s go from %q to %q after it went to %q", e.Node, e.From, e.To, before)
		}
		owner[e.Node] = e.To
	}
	for _, p := range people {
		for node := range p.has {
			if strings.HasPrefix(node, "shared-") && owner[node] != p.name {
				return fmt.Errorf("%s has %s, and in the journal it went to %q last", p.name, node, owner[node])
			}
			delete(owner, node)
		}
	}
	for node, user := range owner {
		if user != "" {
			return fmt.Errorf("%s went to %s in the journal, who does not have it", node, user)
		}
	}
	return nil
}
