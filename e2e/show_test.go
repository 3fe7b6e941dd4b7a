package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"walt/e2e/lab"
)

// node and image are what the show commands say of one, as far as the tests
// of this package look at it.
type node struct {
	Name, Model, Image string
	Owner              *string
}

type image struct {
	FullName, User string
	Models         []string
	InUse          bool `json:"in_use"`
}

// showNodes returns all nodes of the lab.
func showNodes(l *lab.Lab) ([]node, error) {
	var answer struct{ Nodes []node }
	err := show(l, "node", &answer)
	return answer.Nodes, err
}

// show decodes what the administrator is shown of a noun.
func show(l *lab.Lab, noun string, answer any) error {
	out, err := l.Run("", lab.Admin, noun, "show", "--all", "--json")
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), answer); err != nil {
		return fmt.Errorf("%s show --all --json: %w in %s", noun, err, out)
	}
	return nil
}

// checkInvariant checks that each node boots an image that exists and lists
// the model of the node, and that the owner of the image owns the node. Nobody
// may be changing the lab meanwhile.
func checkInvariant(l *lab.Lab) error {
	nodes, err := showNodes(l)
	if err != nil {
		return err
	}
	var answer struct{ Images []image }
	if err := show(l, "image", &answer); err != nil {
		return err
	}
	images := answer.Images
	for _, n := range nodes {
		i := slices.IndexFunc(images, func(i image) bool { return i.FullName == n.Image })
		if i < 0 {
			return fmt.Errorf("%s boots %s, which does not exist", n.Name, n.Image)
		}
		if !slices.Contains(images[i].Models, n.Model) {
			return fmt.Errorf("%s, a %s, boots %s, which is for %v", n.Name, n.Model, n.Image, images[i].Models)
		}
		owner := "waltplatform"
		if n.Owner != nil {
			owner = *n.Owner
		}
		if !strings.HasPrefix(n.Image, owner+"/") {
			return fmt.Errorf("%s boots %s and is said to be of %s", n.Name, n.Image, owner)
		}
	}
	return nil
}

// lookup finds a value in a JSON document. A path is names joined by dots; a
// name may be followed by [i], the element of a list by its position or by its
// name, full name or fingerprint: nodes[rpi-1].owner.
func lookup(document, path string) (string, error) {
	var v any
	if err := json.Unmarshal([]byte(document), &v); err != nil {
		return "", fmt.Errorf("no JSON: %w in %q", err, document)
	}
	for step := range strings.SplitSeq(path, ".") {
		field, selector, selected := strings.Cut(strings.TrimSuffix(step, "]"), "[")
		object, _ := v.(map[string]any)
		value, ok := object[field]
		if !ok {
			return "", fmt.Errorf("%s: there is no %s in %v", path, field, v)
		}
		if v = value; !selected {
			continue
		}
		list, _ := v.([]any)
		i := slices.IndexFunc(list, func(e any) bool { return named(e, selector) })
		if n, err := strconv.Atoi(selector); err == nil {
			i = n
		}
		if i < 0 || i >= len(list) {
			return "", fmt.Errorf("%s: there is no %s in %v", path, selector, list)
		}
		v = list[i]
	}
	return text(v), nil
}

func named(element any, name string) bool {
	object, _ := element.(map[string]any)
	return object["name"] == name || object["fullname"] == name || object["fingerprint"] == name
}

// text is a value the way stories write it: strings without quotes, lists of
// strings joined by commas, lists of objects and empty ones as their length.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case []any:
		if len(v) == 0 {
			return "0"
		}
		words := make([]string, len(v))
		for i, e := range v {
			if _, is := e.(map[string]any); is {
				return strconv.Itoa(len(v))
			}
			words[i] = text(e)
		}
		return strings.Join(words, ",")
	default:
		return fmt.Sprint(v)
	}
}
