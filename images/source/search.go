package source

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

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
func (r *Registry) Search(ctx context.Context, q Query, found func(Image), tell func(string)) error {
	return r.explain(ctx, r.search(ctx, q, found, tell))
}

func (r *Registry) search(ctx context.Context, q Query, found func(Image), tell func(string)) error {
	t := r.server.talk(tell)
	repos, listed := r.list(ctx, t, q)
	if listed != nil && len(repos) == 0 {
		return listed
	}
	m := &missed{}
	var g errgroup.Group
	g.SetLimit(searchers)
	for _, repo := range repos {
		if ValidName(repo, "latest") && q.matchesPath(repo) && !m.enough() {
			g.Go(func() error {
				if err := r.searchRepository(ctx, t, repo, q, found); err != nil {
					m.add(repo, err)
				}
				return nil
			})
		}
	}
	g.Wait()
	if err := m.explain(ctx, r); err != nil {
		return err
	}
	return listed
}

// list returns the repositories that a search is to look at; an error may come
// beside them.
func (r *Registry) list(ctx context.Context, t *talk, q Query) ([]string, error) {
	if r.hub != nil {
		return r.hub.list(ctx, q, t.tell)
	}
	repos, err := r.catalog(ctx, t)
	if errors.Is(err, errNoCatalog) && ValidName(q.Path, "latest") {
		return []string{q.Path}, nil // it can be asked for without a list
	}
	return repos, err
}

// missed are the repositories that a search could not look at: one that fails
// takes nothing from what the others have.
type missed struct {
	mu    sync.Mutex
	repos []string
	err   error // of the first
}

// missLimit is how many repositories may fail before the others are left alone.
const missLimit = 2 * searchers

func (m *missed) add(repo string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.repos = append(m.repos, repo); m.err == nil {
		m.err = err
	}
}

func (m *missed) enough() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.repos) >= missLimit
}

// explain says what is missing, and why; nil is nothing.
func (m *missed) explain(ctx context.Context, r *Registry) error {
	if m.err == nil {
		return nil
	}
	err := r.explain(ctx, m.err)
	e, ok := errors.AsType[*Error](err)
	if !ok || ctx.Err() != nil {
		return err
	}
	which := m.repos[0]
	if m.enough() {
		which += ", and so often that the rest was left out"
	} else if n := len(m.repos) - 1; n > 0 {
		which += fmt.Sprintf(" and %d more", n)
	}
	return &Error{Msg: fmt.Sprintf("%s, at %s", e.Msg, which), Hint: e.Hint, Err: e.Err}
}

// searchRepository shows the images in one repository. One that cannot be looked at
// takes nothing from the others.
func (r *Registry) searchRepository(ctx context.Context, t *talk, name string, q Query, found func(Image)) error {
	repo, err := r.repository(ctx, t, name, pulling)
	if err != nil {
		return err
	}
	tags, err := repo.names(ctx, "listing the tags of "+repo.path, "/v2/"+repo.path+"/tags/list", tagLimit)
	if gone(err) {
		return nil // a registry remembers the names of repositories that were emptied
	}
	for _, tag := range tags {
		if !ValidName(name, tag) || !q.Matches(name, tag) {
			continue
		}
		image, _, failed := repo.look(ctx, name, tag, "")
		if _, unusable := errors.AsType[*Error](failed); unusable || gone(failed) || errors.Is(failed, content.ErrMismatch) {
			continue // no image for nodes
		}
		if ctx.Err() != nil {
			return failed
		}
		if failed != nil {
			err = cmp.Or(err, failed)
			continue
		}
		found(image)
	}
	return err
}

func gone(err error) bool {
	e, ok := errors.AsType[*answerError](err)
	return ok && e.status == http.StatusNotFound || errors.Is(err, errHidden)
}

// errNoCatalog says that a registry does not tell what it has.
var errNoCatalog = errors.New("no catalog")

// noCatalog are the answers of such registries.
var noCatalog = []int{http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented}

// catalog lists the repositories of a registry that are below its prefix, see
// https://distribution.github.io/distribution/spec/api/#listing-repositories
func (r *Registry) catalog(ctx context.Context, t *talk) ([]string, error) {
	root, err := r.connect(ctx, t, "", "registry:catalog:*")
	if err != nil {
		return nil, err
	}
	repos, err := root.names(ctx, "listing the images", "/v2/_catalog", repoLimit)
	switch e, ok := errors.AsType[*answerError](err); {
	case errors.Is(err, errHidden), ok && slices.Contains(noCatalog, e.status):
		return nil, &Error{
			Msg:  r.String() + " cannot list its images",
			Hint: "search for a full name, as in bob/debian, or clone an image by its full link", Err: errNoCatalog,
		}
	case ok && (e.status == http.StatusUnauthorized || e.status == http.StatusForbidden):
		refused := r.refusal(e)
		refused.Err = errNoCatalog
		return nil, refused
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

// names reads a list of names page after page, each name once, until it ends, goes in
// circles, or has more names than the limit; the latter are errors beside the names.
func (r *repository) names(ctx context.Context, step, path string, limit int) (all []string, _ error) {
	query := url.Values{"n": {strconv.Itoa(pageSize)}}.Encode()
	known := map[string]bool{}
	for {
		req := r.request(ctx, http.MethodGet, path)
		req.URL.RawQuery = query
		raw, resp, err := r.read(step, req, listingLimit)
		if err != nil {
			return all, err
		}
		var page struct{ Repositories, Tags []string }
		if json.Unmarshal(raw, &page) != nil {
			return all, &Error{Msg: r.String() + " answered something else than a list", Hint: "check its address in the configuration"}
		}
		before := len(all)
		for _, name := range slices.Concat(page.Repositories, page.Tags) {
			if !known[name] {
				known[name] = true
				all = append(all, name)
			}
		}
		next := nextPage(resp)
		if next != nil && len(all) == before {
			return all, &Error{Msg: r.String() + " answers with a list that goes in circles: what it did not tell was not searched", Hint: "whoever runs the registry has to look after it; meanwhile, clone an image by its full link"}
		}
		if len(all) > limit {
			return all[:min(limit, len(all))], &Error{Msg: fmt.Sprintf("%s lists more than %d names: the others were not searched", r, limit), Hint: "search for a word"}
		}
		if next == nil {
			return all, nil
		}
		query = next.RawQuery // never another host or path
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
