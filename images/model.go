package images

import (
	"regexp"
	"slices"

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

// Platforms are what the machines of each model run, the best first, as in
// "linux/arm/v7". A key that ends in "*" is of all models that begin so and have
// no longer key.
type Platforms map[Model][]string

// What machines run: their own platform, and the older ones that it includes.
var (
	armv6 = []string{"linux/arm/v6", "linux/arm/v5"}
	armv7 = append([]string{"linux/arm/v7"}, armv6...)
	arm64 = append([]string{"linux/arm64"}, armv7...)
	i386  = []string{"linux/386"}
	amd64 = append([]string{"linux/amd64"}, i386...)
)

// KnownPlatforms are those of the models that every lab knows.
func KnownPlatforms() Platforms {
	return Platforms{
		"pc-x86-32*": i386, "pc-*": amd64,
		"rpi-b*": armv6, "rpi-a*": armv6, "rpi-1*": armv6, "rpi-zero*": armv6, "rpi-zero-2*": arm64,
		"rpi-2*": armv7, "rpi-*": arm64,
	}
}

// Including returns a platform and the older ones that it includes.
func Including(platform string) []string {
	for _, all := range [][]string{arm64, amd64} {
		if i := slices.Index(all, platform); i >= 0 {
			return all[i:]
		}
	}
	return []string{platform}
}

// Of returns the platforms of a model, or none when the table does not tell.
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

// SetModels says what the machines of some models run, as in "linux/arm/v7",
// beside or instead of what is known. It may be called again at any time.
func (l *Library) SetModels(platforms map[Model]string) {
	all := Platforms{}
	for m, p := range platforms {
		all[m] = Including(p)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.models = all
}

// Runs returns the platforms of a model, the best first, or none when nobody tells: those
// that the configuration tells go first.
func (l *Library) Runs(m Model) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if all, ok := l.models[m]; ok {
		return all
	}
	return l.platforms.Of(m)
}
