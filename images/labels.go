package images

import (
	"fmt"
	"slices"
	"strings"

	"walt/images/source"
)

// Labels of images, by which their builders say what they are for.
const (
	modelsLabel    = "walt.node.models"
	preferredLabel = "walt.image.preferred-name"

	modelsLimit = 100
)

// record is the record that an image of a location would have under the name.
func record(at fmt.Stringer, ref Ref, i source.Image) (Image, error) {
	models, bad := parseModels(i.Labels[modelsLabel])
	switch {
	case bad != "":
		return Image{}, source.Unusable(at, "has the label %s with %q in it, which is not the name of a model", modelsLabel, bad)
	case len(models) == 0:
		return Image{}, source.Unusable(at, "has no label %s, which says what nodes it is for", modelsLabel)
	case len(models) > modelsLimit:
		return Image{}, source.Unusable(at, "lists more than %d models in its label %s", modelsLimit, modelsLabel)
	}
	img := Image{Ref: ref, Digest: i.Digest, Models: models, Created: i.Created, Size: i.Size, Variant: i.Variant}
	if name, err := ParseName(ref.User, i.Labels[preferredLabel]); err == nil && name.Tag == latest {
		img.Preferred = name.Name
	}
	return img, nil
}

// parseModels splits the models label, or returns an item of it that is none.
func parseModels(label string) (models []Model, bad string) {
	for model := range strings.SplitSeq(label, ",") {
		if model = strings.TrimSpace(model); model == "" {
			continue
		}
		m, err := ParseModel(model)
		if err != nil {
			return nil, model
		}
		if !slices.Contains(models, m) {
			models = append(models, m)
		}
	}
	return models, ""
}

// forImage returns the platforms for which an image is wanted: by its name when it
// is called after a model, else by its labels.
func (p Platforms) forImage(repository string, labels map[string]string) []string {
	_, name, _ := strings.Cut(repository, "/")
	if all := p.Of(Model(strings.TrimSuffix(name, defaultSuffix))); all != nil || labels == nil {
		return all
	}
	var all []string
	models, _ := parseModels(labels[modelsLabel])
	for _, m := range models {
		all = append(all, p.Of(m)...)
	}
	return all
}
