package images

import (
	"strings"

	"walt/images/content"
	"walt/images/source"
)

// Layer is one layer of an image.
type Layer struct {
	Digest string
	Size   int64 // bytes, as it came
}

// Detail is what an image says of itself.
type Detail struct {
	Layers           []Layer // the lowest first
	Labels           map[string]string
	History          []string // how it was built, a line for each step
	Architecture, OS string
	Platform         string  // these two and the variant, as in "linux/arm/v7"; "" when it tells none
	Unfit            []Model // of its models, those whose machines do not run that
}

// Inspect reads what an image that is here says of itself. All of it is text of
// strangers.
func (l *Library) Inspect(img Image) (Detail, error) {
	m, config, err := l.config(img)
	if err != nil {
		return Detail{}, err
	}
	d := Detail{Labels: config.Config.Labels, History: []string{}, Architecture: config.Architecture, OS: config.OS}
	d.Platform = source.PlatformOf(config)
	_, d.Unfit = l.Unfit(img)
	for _, b := range m.Layers {
		d.Layers = append(d.Layers, Layer{string(b.Digest), b.Size})
	}
	for _, step := range config.History {
		if line := strings.TrimSpace(step.CreatedBy + " " + step.Comment); line != "" {
			d.History = append(d.History, line)
		}
	}
	return d, nil
}

// config reads the manifest and the config of an image that is here.
func (l *Library) config(img Image) (content.Manifest, content.Config, error) {
	m, err := l.manifest(img)
	if err != nil {
		return m, content.Config{}, err
	}
	raw, err := l.content.Read(m.Config.Digest)
	if err != nil {
		return m, content.Config{}, err
	}
	config, err := content.ParseConfig(raw)
	return m, config, err
}

// Platform is what an image that is here says that it is for, "" when it does not.
// It is read once: what has a digest does not change.
func (l *Library) Platform(img Image) (string, error) {
	l.mu.Lock()
	platform, known := l.platformOf[img.Digest]
	l.mu.Unlock()
	if known {
		return platform, nil
	}
	_, config, err := l.config(img)
	if err != nil {
		return "", err
	}
	platform = source.PlatformOf(config)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.platformOf == nil {
		l.platformOf = map[string]string{}
	}
	l.platformOf[img.Digest] = platform
	return platform, nil
}
