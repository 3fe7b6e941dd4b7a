package config

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"walt/fault"
)

func fail(problems []string) error {
	return fault.Failedf("%s", strings.Join(problems, "\n"))
}

// decode fills c from the text of the file; unknown keys and values of the
// wrong type are faults.
func decode(file string, text []byte, c *Config) error {
	problem := func(e *toml.DecodeError, what string) string {
		line, _ := e.Position()
		return fmt.Sprintf("%s:%d: %s", file, line, what)
	}
	var broken *toml.DecodeError
	if err := toml.Unmarshal(text, new(map[string]any)); errors.As(err, &broken) {
		return fail([]string{problem(broken, strings.TrimPrefix(broken.Error(), "toml: "))})
	}
	decoder := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	err := decoder.Decode(c)
	var unknown *toml.StrictMissingError
	switch {
	case errors.As(err, &unknown):
		var problems []string
		for i := range unknown.Errors {
			e := &unknown.Errors[i]
			problems = append(problems, problem(e, unknownKey(e.Key())))
		}
		return fail(problems)
	case errors.As(err, &broken):
		key := broken.Key()
		return fail([]string{problem(broken, strings.Join(key, ".")+": want "+wanted(fieldAt(key)))})
	case err != nil:
		return fault.Failedf("%s: %v", file, err)
	}
	return nil
}

// unknownKey says so, and which keys there are instead.
func unknownKey(key toml.Key) string {
	parent, name := key[:len(key)-1], key[len(key)-1]
	var known []string
	if t := fieldAt(parent); t != nil && t.Kind() == reflect.Struct {
		for i := range t.NumField() {
			if name := t.Field(i).Tag.Get("toml"); name != "-" {
				known = append(known, name)
			}
		}
	}
	msg := fmt.Sprintf("unknown key %q", strings.Join(key, "."))
	if near := fault.Nearest(name, known); len(near) > 0 {
		return fmt.Sprintf("%s; did you mean %q?", msg, near[0])
	}
	return msg + "; known here: " + strings.Join(known, ", ")
}

// fieldAt returns the type of the value of a key, that of one element for a
// list of tables; nil when there is no such key.
func fieldAt(key []string) reflect.Type {
	t := reflect.TypeFor[Config]()
	for _, name := range key {
		if t.Kind() != reflect.Struct {
			return nil
		}
		field, ok := t.FieldByNameFunc(func(field string) bool {
			f, _ := t.FieldByName(field)
			return f.Tag.Get("toml") == name
		})
		if !ok {
			return nil
		}
		if t = field.Type; t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct {
			t = t.Elem()
		}
	}
	return t
}

func wanted(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[Duration]():
		return `a duration in quotes, as in "30s"`
	case t == reflect.TypeFor[Registry]():
		return "tables, as in [[registry]]"
	case t == reflect.TypeFor[Model]():
		return "tables, as in [[model]]"
	case t == reflect.TypeFor[Driver]():
		return "tables, as in [[power.driver]]"
	case t == nil || t.Kind() == reflect.Struct:
		return "a table, as in [ssh]"
	case t.Kind() == reflect.Slice:
		return `a list of text, as in ["a", "b"]`
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Int:
		return "a whole number"
	}
	return `text in quotes`
}

// lines tells on which line each key of the text is: "ssh.user_ca",
// "registry[0].url", "registry[0]".
func lines(text []byte) map[string]int {
	found := map[string]int{}
	tables := map[string]int{} // how many [[...]] of a name there were
	table := ""
	var p unstable.Parser
	p.Reset(text)
	for p.NextExpression() {
		e := p.Expression()
		key, line := "", 0
		for it := e.Key(); it.Next(); {
			if line == 0 {
				line = p.Shape(it.Node().Raw).Start.Line
			}
			key = join(key, string(it.Node().Data))
		}
		switch e.Kind {
		case unstable.ArrayTable:
			table = fmt.Sprintf("%s[%d]", key, tables[key])
			tables[key]++
			found[table] = line
		case unstable.Table:
			table = key
			found[table] = line
		default:
			found[join(table, key)] = line
		}
	}
	return found
}

func join(table, key string) string {
	if table == "" {
		return key
	}
	return table + "." + key
}
