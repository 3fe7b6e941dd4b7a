package commands

import (
	"reflect"
	"strings"
	"testing"

	"walt/api"
)

// Topic "ci" names each field of each document that --json prints.
func TestTopicNamesAllFields(t *testing.T) {
	t.Parallel()
	text, known := Topic("ci")
	if !known {
		t.Fatal("there is no topic ci")
	}
	var check func(reflect.Type)
	check = func(doc reflect.Type) {
		for _, f := range reflect.VisibleFields(doc) {
			if f.Anonymous {
				continue
			}
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); !strings.Contains(text, `"`+name+`"`) {
				t.Errorf("%s: topic ci does not name %q", doc, name)
			}
			if f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct && f.Type.Elem().PkgPath() == doc.PkgPath() {
				check(f.Type.Elem())
			}
		}
	}
	for _, doc := range []any{
		api.Nodes{},
		api.Changes{},
		api.Images{},
		api.ImageDetail{},
		api.FoundImages{},
		api.Devices{},
		api.TestRun{},
		api.Test{},
		api.Power{},
		api.Settings{},
		api.Users{},
		api.WhoAmI{},
		api.Jobs{},
		api.Events{},
	} {
		check(reflect.TypeOf(doc))
	}
}
