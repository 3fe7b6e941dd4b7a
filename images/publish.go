package images

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"walt/fault"
	"walt/images/content"
	"walt/images/source"
)

// Publish pushes an image to the registry of that label, the first one for "",
// under its own name and with its own digest, and returns the link to it there.
// Parts that the registry has are not sent again. Errors are faults that say
// what the registry refused. report is as for Fetch.
func (l *Library) Publish(ctx context.Context, img Image, registry string, report func(Progress)) (Link, error) {
	to, err := l.registry(registry)
	if err != nil {
		return Link{}, err
	}
	link := Link{to.Name(), img.Ref}
	m, err := l.manifest(img)
	if err != nil {
		return Link{}, err
	}
	err = to.Push(ctx, m, img.Ref.repository(), img.Ref.Tag, report)
	if err == nil {
		return link, nil
	}
	if ctx.Err() != nil {
		return Link{}, fmt.Errorf("publish %s: %w", link, context.Cause(ctx))
	}
	if e, ok := errors.AsType[*source.Error](err); ok {
		return Link{}, fault.Failedf("the image %s cannot be published: %s", img.Ref, e.Msg).WithHint("%s", e.Hint)
	}
	return Link{}, fmt.Errorf("publish %s: %w", link, err)
}

// manifest reads the manifest of an image that is here.
func (l *Library) manifest(img Image) (content.Manifest, error) {
	d, err := content.ParseDigest(img.Digest)
	if err != nil {
		return content.Manifest{}, err
	}
	return l.content.Manifest(d)
}

// registry returns the registry of the label, the first one for "".
func (l *Library) registry(label string) (*source.Registry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var labels []string
	for _, r := range l.registries {
		if label == "" || r.Name() == label {
			return r, nil
		}
		labels = append(labels, r.Name())
	}
	if len(labels) == 0 {
		return nil, fault.Failedf("images cannot be published: no registry is configured").
			WithHint("an administrator can add a [[registry]] to the configuration")
	}
	return nil, fault.Unknown("registry", []string{label}, labels, "configured: "+strings.Join(labels, ", "))
}
