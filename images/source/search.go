package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"

	"walt/images/content"
)

const (
	searchers    = 8       // images of one location that are looked at at the same time
	pageSize     = 1000    // names in one answer
	repoLimit    = 10_000  // repositories of one location
	tagLimit     = 1000    // tags of one repository
	listingLimit = 4 << 20 // bytes of one answer
)

// Search implements Location.
func (r *Registry) Search(ctx context.Context, q Query, found func(Image)) error {
	return r.explain(ctx, r.search(ctx, q, found))
}

func (r *Registry) search(ctx context.Context, q Query, found func(Image)) error {
	list := r.catalog
	if r.hub != nil {
		list = func(ctx context.Context) ([]string, error) { return r.hub.list(ctx, q) }
	}
	repos, listed := list(ctx)
	if listed != nil && len(repos) == 0 {
		return listed
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(searchers)
	for _, repo := range repos {
		if q.matchesPath(repo) {
			g.Go(func() error { return r.searchRepository(gctx, repo, q, found) })
		}
	}
	return errors.Join(g.Wait(), listed)
}

// searchRepository shows the images in one repository.
func (r *Registry) searchRepository(ctx context.Context, name string, q Query, found func(Image)) error {
	repo, err := r.repository(ctx, name, transport.PullScope)
	if err != nil {
		return err
	}
	tags, err := repo.list(ctx, "/v2/"+repo.path+"/tags/list", tagLimit)
	if gone(err) {
		return nil // a registry remembers the names of repositories that were emptied
	}
	if err != nil {
		return err
	}
	for _, tag := range tags {
		if !ValidName(name, tag) || !q.Matches(name, tag) {
			continue
		}
		image, _, err := repo.look(ctx, name, tag, "")
		if _, unusable := errors.AsType[*Error](err); unusable || gone(err) || errors.Is(err, content.ErrMismatch) {
			continue // no image for nodes
		}
		if err != nil {
			return err
		}
		found(image)
	}
	return nil
}

func gone(err error) bool {
	e, ok := errors.AsType[*transport.Error](err)
	return ok && e.StatusCode == http.StatusNotFound || errors.Is(err, errHidden)
}

// catalog lists the repositories of a registry that are below its prefix, see
// https://distribution.github.io/distribution/spec/api/#listing-repositories
func (r *Registry) catalog(ctx context.Context) ([]string, error) {
	root, err := r.connect(ctx, "", "registry:catalog:*")
	if err != nil {
		return nil, err
	}
	repos, err := root.list(ctx, "/v2/_catalog", repoLimit)
	if e, ok := errors.AsType[*transport.Error](err); ok && (e.StatusCode == http.StatusNotFound || e.StatusCode == http.StatusMethodNotAllowed) {
		return nil, &Error{Msg: r.String() + " cannot list its images", Hint: "an image there can be cloned by its full link"}
	}
	var below []string
	for _, repo := range repos {
		if r.prefix == "" {
			below = append(below, repo)
		} else if rest, ok := strings.CutPrefix(repo, r.prefix+"/"); ok {
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
			return all, &Error{Msg: r.String() + " answered something else than a list", Hint: "check its address in the configuration"}
		}
		before := len(all)
		all = append(append(all, page.Repositories...), page.Tags...)
		next := nextPage(resp)
		if len(all) > limit || next != nil && len(all) == before {
			return all[:min(limit, len(all))], &Error{Msg: fmt.Sprintf("%s lists more than %d names: the others were not searched", r, limit), Hint: "search for a word"}
		}
		if next == nil {
			return all, nil
		}
		u = &url.URL{Path: path, RawQuery: next.RawQuery} // never another host or path
	}
}

// nextPage is the address of the page after an answer, see RFC 8288; nil after
// the last one.
func nextPage(resp *http.Response) *url.URL {
	for _, link := range linkForm.FindAllStringSubmatch(strings.Join(resp.Header.Values("Link"), ","), -1) {
		for _, param := range paramForm.FindAllStringSubmatch(link[2], -1) {
			rels := strings.Fields(strings.ToLower(strings.Trim(param[2], `"`)))
			if !strings.EqualFold(param[1], "rel") || !slices.Contains(rels, "next") {
				continue
			}
			if u, err := url.Parse(strings.TrimSpace(link[1])); err == nil {
				return u
			}
		}
	}
	return nil
}

// A link is <address>, then parameters: ; name=value or name="value".
var (
	linkForm  = regexp.MustCompile(`<([^>]*)>((?:\s*;\s*[^\s=;,<]+(?:\s*=\s*(?:"[^"]*"|[^\s;,"<]+))?)*)`)
	paramForm = regexp.MustCompile(`;\s*([^\s=;,]+)\s*=\s*("[^"]*"|[^\s;,"]+)`)
)
