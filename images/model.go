package images

import (
	"regexp"

	"walt/fault"
)

// Model is the kind of hardware that a node is, as in rpi-3-b. A valid one is
// short enough for "<model>-default" to be the name of an image.
type Model string

var modelForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,52}[a-z0-9])?$`)

// ParseModel checks the form of the name of a model; it need not be a known one.
func ParseModel(s string) (Model, error) {
	if !modelForm.MatchString(s) {
		return "", fault.Usagef("invalid model %q", s).
			WithHint("a model is 1 to 54 lower-case letters, digits or -, as in rpi-3-b or pc-x86-64")
	}
	return Model(s), nil
}

// defaultSuffix follows the model in the name of its default image.
const defaultSuffix = "-default"

// ModelNames are the names of models, for lists of strings.
func ModelNames(models []Model) []string {
	names := make([]string, len(models))
	for i, m := range models {
		names[i] = string(m)
	}
	return names
}

// Platforms are the architectures that the machines of each model run, the best
// first, by their names in Go (GOARCH). A key that ends in "*" is of all models
// that begin so and have no key of their own.
type Platforms map[Model][]string

// KnownPlatforms are those of the models that every lab knows.
func KnownPlatforms() Platforms {
	pc, pi := []string{"amd64"}, []string{"arm", "arm64"}
	return Platforms{
		"pc-x86-64": pc, "pc-*": pc,
		"rpi-b": pi, "rpi-b-plus": pi, "rpi-2-b": pi, "rpi-3-b": pi, "rpi-3-b-plus": pi, "rpi-4-b": pi, "rpi-5-b": pi, "rpi-*": pi,
	}
}

// Of returns the architectures of a model, or none when the table does not tell.
func (p Platforms) Of(m Model) []string {
	if all, ok := p[m]; ok {
		return all
	}
	for i := len(m); i > 0; i-- {
		if all, ok := p[m[:i]+"*"]; ok {
			return all
		}
	}
	return nil
}
