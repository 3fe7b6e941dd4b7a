package images

import (
	"context"
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
		e := source.Unusable(at, "has no label %s, which says what nodes it is for", modelsLabel)
		e.Hint = "whoever built it has to build it again, with a line in its Dockerfile as LABEL " + modelsLabel + "=pc-x86-64"
		return Image{}, e
	case len(models) > modelsLimit:
		return Image{}, source.Unusable(at, "lists more than %d models in its label %s", modelsLimit, modelsLabel)
	}
	img := Image{Ref: ref, Digest: i.Digest, Models: models, Created: i.Created, Size: i.Size, Variant: i.Variant}
	if name, err := ParseName(ref.User, i.Labels[preferredLabel]); err == nil && name.Tag == latest {
		img.Preferred = name.Name
	}
	return img, nil
}

// parseModels splits the models label, up to one more than there may be, or returns
// an item of it that is none.
func parseModels(label string) (models []Model, bad string) {
	for model := range strings.SplitSeq(label, ",") {
		if model = strings.TrimSpace(model); model == "" {
			continue
		}
		m, err := ParseModel(model)
		if err != nil {
			return nil, model
		}
		if slices.Contains(models, m) {
			continue
		}
		if models = append(models, m); len(models) > modelsLimit {
			break // each is compared with all others
		}
	}
	return models, ""
}

// machines returns the machines for which an image is wanted: those of the models
// that its label lists and this lab has, or of all that it lists when it has none
// of them; and of the model that it is called after.
func (l *Library) machines(ctx context.Context, repository string, labels map[string]string) (all []source.Machine, err error) {
	_, name, _ := strings.Cut(repository, "/")
	models, _ := parseModels(labels[modelsLabel])
	if l.Present != nil && len(models) > 0 {
		present, err := l.Present(ctx)
		if err != nil {
			return nil, err
		}
		here := slices.DeleteFunc(slices.Clone(models), func(m Model) bool { return !slices.Contains(present, m) })
		if len(here) > 0 {
			models = here
		}
	}
	if called, is := strings.CutSuffix(name, defaultSuffix); is && !slices.Contains(models, Model(called)) {
		models = append([]Model{Model(called)}, models...)
	}
	for _, m := range models {
		if runs := l.Runs(m); len(runs) > 0 {
			all = append(all, source.Machine{Model: string(m), Runs: runs})
		}
	}
	return all, nil
}

// Unfit returns the platform of an image, and those of its models whose machines do
// not run that; none where it is not known, or cannot be read: who needs it tells.
func (l *Library) Unfit(img Image) (platform string, models []Model) {
	platform, err := l.Platform(img)
	if err != nil || platform == "" {
		return "", nil
	}
	for _, m := range img.Models {
		if runs := l.Runs(m); len(runs) > 0 && !slices.Contains(runs, platform) {
			models = append(models, m)
		}
	}
	return platform, models
}
