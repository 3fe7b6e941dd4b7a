package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// hub lists repositories of Docker Hub, whose registry has no catalog: those of
// some accounts, see https://docs.docker.com/reference/api/hub/latest/
type hub struct {
	base     *url.URL
	accounts []string
	server   *peer
}

func newHub(r RegistryConfig, stall time.Duration) (*hub, error) {
	if r.SearchURL == "" {
		r.SearchURL = hubSearch
	}
	u, err := parseURL(r.SearchURL)
	if err != nil {
		return nil, fmt.Errorf("search in registry %s: %w", r.Label, err)
	}
	where := fmt.Sprintf("the search of Docker Hub (%s)", u)
	return &hub{u, r.Accounts, &peer{name: where, host: u.Host, transport: newTransport(r.CA, stall)}}, nil
}

// list returns the repositories of the accounts, and of the one that the word
// begins with.
func (h *hub) list(ctx context.Context, q Query, tell func(string)) ([]string, error) {
	t := h.server.talk(tell)
	accounts := slices.Clone(h.accounts)
	if account, _, ok := strings.Cut(q.Path, "/"); ok && repositoryForm.MatchString(account+"/x") {
		accounts = append(accounts, account)
	}
	slices.Sort(accounts)
	var repos []string
	for _, account := range slices.Compact(accounts) {
		for page := 1; ; page++ {
			names, more, err := h.page(ctx, t, account, page)
			if err != nil {
				return repos, err
			}
			for _, name := range names {
				repos = append(repos, account+"/"+name)
			}
			if len(repos) > repoLimit {
				return repos[:repoLimit], h.failed(fmt.Sprintf("has more than %d repositories of these accounts: the others were not searched", repoLimit), "")
			}
			if !more || len(names) == 0 {
				break
			}
		}
	}
	return repos, nil
}

// page asks for one page of the repositories of an account, which need not exist.
func (h *hub) page(ctx context.Context, t *talk, account string, n int) (names []string, more bool, _ error) {
	u := *h.base
	u.Path = path.Join("/", u.Path, "v2/repositories", account) + "/"
	u.RawQuery = url.Values{"page": {strconv.Itoa(n)}, "page_size": {"100"}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, false, err
	}
	raw, _, err := t.document("listing the repositories of "+account, req, listingLimit)
	e, answered := errors.AsType[*answerError](err)
	switch {
	case ctx.Err() != nil:
		return nil, false, context.Cause(ctx)
	case answered && e.status == http.StatusNotFound:
		return nil, false, nil
	case answered:
		return nil, false, h.failed(e.words(), "try again later")
	case err != nil:
		if known := network(h.String(), err); known != nil {
			return nil, false, known
		}
		return nil, false, h.failed("cannot be reached: "+unreachable(err), "check that it can be reached from here")
	}
	var answer struct {
		Next    string
		Results []struct{ Name string }
	}
	if json.Unmarshal(raw, &answer) != nil {
		return nil, false, h.failed("answered something else than a list", "check search_url in the configuration")
	}
	for _, r := range answer.Results {
		names = append(names, r.Name)
	}
	return names, answer.Next != "", nil
}

func (h *hub) failed(what, hint string) error {
	return &Error{Msg: fmt.Sprintf("%s %s", h, what), Hint: hint}
}

func (h *hub) String() string { return h.server.name }
