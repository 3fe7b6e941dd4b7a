package upgrade

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"walt/fault"
	"walt/state"
	"walt/state/badger"
)

var silent = slog.New(slog.DiscardHandler)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func memory(t *testing.T) state.Store {
	t.Helper()
	s, err := badger.OpenMemory()
	ok(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// unpack calls each with the entries of a packed archive.
func unpack(t *testing.T, file string, each func(*tar.Header, io.Reader)) {
	t.Helper()
	f, err := os.Open("testdata/" + file)
	ok(t, err)
	defer f.Close()
	zip, err := gzip.NewReader(f)
	ok(t, err)
	archive := tar.NewReader(zip)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		ok(t, err)
		each(h, archive)
	}
}

// old returns the rows of format 1 in a store in memory.
func old(t *testing.T) state.Store {
	t.Helper()
	s := memory(t)
	unpack(t, "format-1-backup.tar.gz", func(h *tar.Header, r io.Reader) {
		if h.Name == "state" {
			ok(t, state.Restore(t.Context(), s, r))
		}
	})
	return s
}

// rows are all rows of a store, each as key=value.
func rows(t *testing.T, s state.Store) []string {
	t.Helper()
	all, err := state.Read(t.Context(), s, func(r state.Reader) (all []string, err error) {
		for row, err := range r.Scan("", "") {
			if err != nil {
				return nil, err
			}
			all = append(all, row.Key+"="+string(row.Value))
		}
		return all, nil
	})
	ok(t, err)
	return all
}

// fields are those of a row.
func fields(t *testing.T, row string) (all map[string]any) {
	t.Helper()
	_, value, _ := strings.Cut(row, "=")
	ok(t, json.Unmarshal([]byte(value), &all))
	return all
}

func under(all []string, prefix string) (found []string) {
	for _, row := range all {
		if strings.HasPrefix(row, prefix) {
			found = append(found, row)
		}
	}
	return found
}

func TestFormat2(t *testing.T) {
	t.Parallel()
	s := old(t)
	before := rows(t, s)
	ok(t, Run(t.Context(), s, silent))
	after := rows(t, s)
	want := []string{
		`owner/admin/pc-3="pc-x86-64"`, `owner/alice/desk="pc-x86-64"`, `owner/alice/rpi4-1="rpi-4-b"`, `owner/bob/pc-4="pc-x86-64"`,
		`owner/waltplatform/pc-2="pc-x86-64"`, `owner/waltplatform/pc-5="pc-x86-64"`,
		`owner/waltplatform/rpi-1="rpi-3-b"`, `owner/waltplatform/rpi-2="rpi-3-b"`, `owner/waltplatform/rpi-3="rpi-3-b"`,
	}
	if got := under(after, "owner/"); !slices.Equal(got, want) {
		t.Errorf("owners: %q, want %q", got, want)
	}
	for _, guard := range []string{"crowd/", "image-put/", "workingset/"} {
		if len(under(before, guard)) == 0 || len(under(after, guard)) > 0 {
			t.Errorf("%s: there were %q, there are %q", guard, under(before, guard), under(after, guard))
		}
	}
	port := regexp.MustCompile(`,"port":{[^}]*}`)
	var was, is []map[string]any // the order of fields does not matter
	for _, row := range under(before, "device/") {
		row = port.ReplaceAllString(row, "")
		was = append(was, fields(t, strings.Replace(row, `"virtual":true`, `"host":"simulated"`, 1)))
	}
	for _, row := range under(after, "device/") {
		is = append(is, fields(t, row))
	}
	if !reflect.DeepEqual(is, was) {
		t.Errorf("devices: %q became %q", was, is)
	}
	for table, want := range map[string][]string{
		"link/": {
			`link/52:54:00:00:01:01={"switch":"52:54:00:00:02:01","number":1,"by_hand":true}`,
			`link/52:54:00:00:01:02={"switch":"52:54:00:00:02:01","number":2,"by_hand":true}`,
			`link/52:54:00:00:01:03={"switch":"52:54:00:00:02:01","number":3,"by_hand":true}`,
			`link/52:54:00:00:0b:01={"switch":"52:54:00:00:02:01","number":7,"by_hand":true}`,
		},
		"cables/": {`cables/52:54:00:00:02:01={"52:54:00:00:01:01":1,"52:54:00:00:01:02":2,"52:54:00:00:01:03":3,"52:54:00:00:0b:01":7}`},
		"order/": {
			`order/52:54:00:00:02:01/2={"will":"off","device":"52:54:00:00:01:02","since":"2026-03-04T05:06:07Z","cut":"2026-03-04T05:07:07Z"}`,
			`order/52:54:00:00:02:01/3={"will":"on","device":"52:54:00:00:01:03","since":"2026-03-04T05:06:07Z","error":"no answer"}`,
		},
		"last-use/": {`last-use/52:54:00:00:01:01="2026-03-04T06:06:07Z"`, `last-use/52:54:00:00:01:02="2026-03-04T05:06:07Z"`},
		"address/":  {`address/52:54:00:00:01:11="127.0.0.1:1"`},
		"plug/":     {}, "used/": {}, "heard/": {},
	} {
		if got := under(after, table); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", table, got, want)
		}
	}
	for _, same := range []string{"mac/", "image/", "user/", "key/", "event/", "notice/", "typed/", "seeded/", "switch/", "download/"} {
		if got, want := under(after, same), under(before, same); !slices.Equal(got, want) || len(want) == 0 {
			t.Errorf("%s: %q became %q", same, want, got)
		}
	}
}

// cut is a store that ends before or after one of its commits.
type cut struct {
	state.Store
	left  int // commits until the end
	after bool
}

var errCut = errors.New("killed")

func (c *cut) Update(ctx context.Context, f func(state.Tx) error) (state.Version, error) {
	c.left--
	switch {
	case c.left < 0:
		return 0, errCut
	case c.left > 0 || !c.after:
		return c.Store.Update(ctx, f)
	}
	v, err := c.Store.Update(ctx, f)
	if err == nil {
		err = errCut
	}
	return v, err
}

// TestKilled ends an upgrade at each of its transactions: it leaves a store that
// is of format 1 still, and the next one finishes.
func TestKilled(t *testing.T) {
	t.Parallel()
	whole := old(t)
	ok(t, run(t.Context(), whole, 3, silent))
	want := rows(t, whole)
	cuts := 0
	for done := false; !done; cuts++ {
		for _, after := range []bool{false, true} {
			s := old(t)
			err := run(t.Context(), &cut{Store: s, left: cuts, after: after}, 3, silent)
			if err != nil && !errors.Is(err, errCut) {
				t.Fatal(err)
			}
			done = err == nil
			format, err := state.Read(t.Context(), s, formatOf)
			ok(t, err)
			if now := slices.Equal(rows(t, s), want); now != (format == Format) {
				t.Errorf("cut at %d (after: %v): format %d, and whole: %v", cuts, after, format, now)
			}
			ok(t, run(t.Context(), s, 3, silent))
			if got := rows(t, s); !slices.Equal(got, want) {
				t.Errorf("cut at %d (after: %v) it ended as %q, want %q", cuts, after, got, want)
			}
		}
	}
	if cuts < 10 {
		t.Errorf("it was cut at %d places", cuts)
	}
}

// TestAgain runs each step on what it made: rows stay as they are.
func TestAgain(t *testing.T) {
	t.Parallel()
	s := old(t)
	ok(t, Run(t.Context(), s, silent))
	want := rows(t, s)
	for _, step := range steps[Format] {
		ok(t, step.run(t.Context(), s, 3))
		if got := rows(t, s); !slices.Equal(got, want) {
			t.Errorf("%s: %q became %q", step.prefix, want, got)
		}
	}
}

func TestNewStore(t *testing.T) {
	t.Parallel()
	s := memory(t)
	var log bytes.Buffer
	for range 2 {
		ok(t, Run(t.Context(), s, slog.New(slog.NewTextHandler(&log, nil))))
		if got, want := rows(t, s), []string{fmt.Sprintf("format/rows=%d", Format)}; !slices.Equal(got, want) || log.Len() > 0 {
			t.Errorf("a new store has %q, want %q; it logged %s", got, want, &log)
		}
	}
}

func TestNewerFormat(t *testing.T) {
	t.Parallel()
	s := old(t)
	_, err := s.Update(t.Context(), func(tx state.Tx) error { return formats.Put(tx, formatKey, Format+1) })
	ok(t, err)
	before := rows(t, s)
	known := Known([]state.Row{{Key: "format/rows", Value: fmt.Append(nil, Format+1)}})
	for _, err := range []error{Run(t.Context(), s, silent), known} {
		if f := fault.As(err); f == nil || f.Hint == "" || !strings.Contains(f.Msg, fmt.Sprintf("of format %d", Format+1)) {
			t.Errorf("opened: %v", err)
		}
	}
	if err := Known([]state.Row{{Key: "format/rows", Value: fmt.Append(nil, Format)}, {Key: "format/x", Value: []byte("99")}}); err != nil {
		t.Errorf("the format of this version: %v", err)
	}
	if !slices.Equal(rows(t, s), before) {
		t.Error("rows were changed")
	}
}
