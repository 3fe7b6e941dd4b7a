package images

import (
	"net"
	"net/http"
	"strings"
	"time"

	"walt/images/source"
)

// Sample is a small default image made on the spot, for a lab that has nothing
// to download.
type Sample struct {
	Models    []Model // the image is published as the default one of each
	Preferred string  // the label walt.image.preferred-name, unless ""
	Created   time.Time
	Files     map[string]string // content by path
}

// ServeSamples publishes samples in an OCI registry that is kept in memory and
// served on l until the server that it returns is closed.
func ServeSamples(l net.Listener, samples []Sample) (*http.Server, error) {
	var all []source.Sample
	for _, s := range samples {
		to := source.Sample{Labels: map[string]string{modelsLabel: strings.Join(ModelNames(s.Models), ",")}, Created: s.Created, Files: s.Files}
		if s.Preferred != "" {
			to.Labels[preferredLabel] = s.Preferred
		}
		for _, m := range s.Models {
			to.Names = append(to.Names, DefaultRef(m).Full())
		}
		all = append(all, to)
	}
	return source.ServeSamples(l, all)
}
