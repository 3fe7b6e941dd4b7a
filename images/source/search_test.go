package source

import (
	"net/http"
	"testing"
)

func TestNextPage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		headers []string
		want    string
	}{
		{nil, ""},
		{[]string{`</v2/_catalog?last=a&n=2>; rel="next"`}, "last=a&n=2"},
		{[]string{`</v2/_catalog?last=a>;rel=next`}, "last=a"},
		{[]string{`<https://other/v2/_catalog?last=a> ; title="x; rel=prev" ; REL="last Next"`}, "last=a"},
		{[]string{`<?last=z>; rel="prev", <?last=a>; rel="next"`}, "last=a"},
		{[]string{`<?last=z>; rel=prev`, `<?last=a,b>; rel=next`}, "last=a,b"},
		{[]string{`<?last=z>; title="rel=next"; rel="nextish"`}, ""},
		{[]string{`?last=z; rel=next`, `<%zz>; rel=next`, "<"}, ""},
	} {
		got := ""
		if u := nextPage(&http.Response{Header: http.Header{"Link": c.headers}}); u != nil {
			got = u.RawQuery
		}
		if got != c.want {
			t.Errorf("%q: got %q, want %q", c.headers, got, c.want)
		}
	}
}
