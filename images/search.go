package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"
)

const (
	searchLimit  = 30 * time.Second
	searchers    = 8       // images of one location that are looked at at the same time
	pageSize     = 1000    // names in one answer
	repoLimit    = 10_000  // repositories of one location
	tagLimit     = 1000    // tags of one repository
	listingLimit = 4 << 20 // bytes of one answer
)

// Found is an image in another location.
type Found struct {
	Link    Link
	Models  []Model
	Size    int64 // bytes; as they are stored there
	Created time.Time
	Digest  string // of its manifest; in the docker daemon, its ID
}

// errSlow says that a location took too long for all that it was asked.
var errSlow = errors.New("took too long")

// Search looks in all other locations at the same time for images for nodes
// whose name has the word in it, all of them for "", and returns when the last
// one has answered or has had its time. It calls found for each image, in no
// order, and missed once for each location that could not, or not wholly, be
// searched; neither is called twice at once. That no docker daemon runs is no
// miss. The error is that of ctx.
func (l *Library) Search(ctx context.Context, text string, found func(Found), missed func(location string, err error)) error {
	var (
		mu sync.Mutex // of the callbacks
		wg sync.WaitGroup
	)
	for _, at := range l.locations() {
		wg.Go(func() { // ends with the patience, or with ctx
			inTime, cancel := context.WithTimeoutCause(ctx, l.patience, errSlow)
			defer cancel()
			err := at.search(inTime, parseWord(text), func(f Found) {
				mu.Lock()
				defer mu.Unlock()
				found(f)
			})
			if err == nil || ctx.Err() != nil || errors.Is(err, errAbsent) {
				return
			}
			if inTime.Err() != nil {
				err = context.Cause(inTime)
			}
			mu.Lock()
			defer mu.Unlock()
			missed(at.name(), words(at, err))
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// word is what a search is for: a part of <user>/<name>, and with a colon the
// beginning of a tag.
type word struct{ path, tag string }

func parseWord(text string) word {
	path, tag, _ := strings.Cut(strings.TrimSpace(text), ":")
	return word{strings.ToLower(path), tag}
}

// Matches reports whether a search for the text finds what has the name.
func (r Ref) Matches(text string) bool {
	w := parseWord(text)
	return w.inPath(string(r.User)+"/"+r.Name) && w.inTag(r.Tag)
}

func (w word) inPath(path string) bool { return strings.Contains(path, w.path) }
func (w word) inTag(tag string) bool   { return strings.HasPrefix(tag, w.tag) }

func (s *source) search(ctx context.Context, w word, found func(Found)) error {
	list := s.catalog
	if s.hub != nil {
		list = func(ctx context.Context) ([]string, error) { return s.hub.list(ctx, w) }
	}
	repos, listed := list(ctx)
	if listed != nil && len(repos) == 0 {
		return listed
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(searchers)
	for _, repo := range repos {
		if w.inPath(repo) {
			g.Go(func() error { return s.searchRepo(gctx, repo, w, found) })
		}
	}
	return errors.Join(g.Wait(), listed)
}

// searchRepo shows the images in one repository.
func (s *source) searchRepo(ctx context.Context, repo string, w word, found func(Found)) error {
	r, err := s.open(ctx, repo, transport.PullScope)
	if err != nil {
		return err
	}
	tags, err := r.list(ctx, "/v2/"+r.path+"/tags/list", tagLimit)
	if gone(err) {
		return nil // a registry remembers the names of repositories that were emptied
	}
	if err != nil {
		return err
	}
	for _, tag := range tags {
		link, ok := newLink(s.label, repo, tag)
		if !ok || !w.inTag(tag) {
			continue
		}
		image, err := r.read(ctx, link.Ref)
		if _, unusable := errors.AsType[trouble](err); unusable || gone(err) || errors.Is(err, errContent) {
			continue // no image for nodes
		}
		if err != nil {
			return err
		}
		found(Found{link, image.Models, image.Size, image.Created, image.Digest})
	}
	return nil
}

func gone(err error) bool {
	e, ok := errors.AsType[*transport.Error](err)
	return ok && e.StatusCode == http.StatusNotFound || errors.Is(err, errHidden)
}

// catalog lists the repositories of a registry that are below its prefix, see
// https://distribution.github.io/distribution/spec/api/#listing-repositories
func (s *source) catalog(ctx context.Context) ([]string, error) {
	r, err := s.connect(ctx, "", "registry:catalog:*")
	if err != nil {
		return nil, err
	}
	repos, err := r.list(ctx, "/v2/_catalog", repoLimit)
	if e, ok := errors.AsType[*transport.Error](err); ok && (e.StatusCode == http.StatusNotFound || e.StatusCode == http.StatusMethodNotAllowed) {
		return nil, trouble{s.String() + " cannot list its images", "an image there can be cloned by its full link"}
	}
	var below []string
	for _, repo := range repos {
		if s.prefix == "" {
			below = append(below, repo)
		} else if rest, ok := strings.CutPrefix(repo, s.prefix+"/"); ok {
			below = append(below, rest)
		}
	}
	return below, err
}

// list reads a list of names page after page, until it ends or has more names
// than the limit, which is an error beside the names.
func (r *repository) list(ctx context.Context, path string, limit int) (all []string, _ error) {
	u := &url.URL{Path: path, RawQuery: url.Values{"n": {strconv.Itoa(pageSize)}}.Encode()}
	for {
		resp, err := r.ask(ctx, u, http.Header{}, http.StatusOK)
		if err != nil {
			return all, err
		}
		raw, err := io.ReadAll(io.LimitReader(resp.Body, listingLimit))
		resp.Body.Close()
		if err != nil {
			return all, err
		}
		var page struct{ Repositories, Tags []string }
		if json.Unmarshal(raw, &page) != nil {
			return all, trouble{fmt.Sprintf("%s answered something else than a list", r), "check its address in the configuration"}
		}
		before := len(all)
		all = append(append(all, page.Repositories...), page.Tags...)
		next := nextPage(resp)
		if len(all) > limit || next != nil && len(all) == before {
			return all[:min(limit, len(all))], trouble{fmt.Sprintf("%s lists more than %d names: the others were not searched", r, limit), "search for a word"}
		}
		if next == nil {
			return all, nil
		}
		u = &url.URL{Path: path, RawQuery: next.RawQuery} // never another host or path
	}
}

// nextPage is the address of the page after an answer, see RFC 5988; nil after
// the last one.
func nextPage(resp *http.Response) *url.URL {
	link, params, ok := strings.Cut(resp.Header.Get("Link"), ">")
	if !ok || !strings.HasPrefix(link, "<") || !strings.Contains(params, `rel="next"`) {
		return nil
	}
	u, err := url.Parse(link[1:])
	if err != nil {
		return nil
	}
	return u
}
