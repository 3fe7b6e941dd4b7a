package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

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
