package badger

import "strings"

// A command about very many devices asks for as many rows that are not there, and badger
// looks for each in all its logs and tables. So a transaction that asked for many in vain
// finds out which rows their tables have at all, in one go, unless these are many. What
// it was asked for may conflict all the same: absent decides nothing but how it is found.
const (
	// missing is how many rows of a table a transaction asks for in vain before that.
	missing = 256
	// present is how many rows a table has at most of which it is known which they are.
	present = 10_000
)

// absent is what a transaction knows of rows that are not there. The zero value knows
// nothing.
type absent struct {
	tables map[string]*rowsOf // by the beginning of their keys, "/" included
	missed int                // rows that were asked for in vain
}

// rowsOf is what is known of the rows of a table.
type rowsOf struct {
	missed int             // that were asked for in vain
	keys   map[string]bool // of those that there are; nil when that is not known
}

// has reports whether a key may have a row.
func (a *absent) has(key string) bool {
	if a.tables == nil {
		return true
	}
	known := a.tables[tableOf(key)]
	return known == nil || known.keys == nil || known.keys[key]
}

// miss notes that a key has no row, and may have r tell which rows its table has.
func (a *absent) miss(key string, r reader) {
	if a.missed++; a.missed < missing {
		return
	}
	if a.tables == nil {
		a.tables = map[string]*rowsOf{}
	}
	table := tableOf(key)
	known := a.tables[table]
	if known == nil {
		known = &rowsOf{}
		a.tables[table] = known
	}
	if known.missed++; known.missed != missing || table == "" {
		return
	}
	if *r.open > 0 { // badger iterates once at a time
		known.missed--
		return
	}
	keys := map[string]bool{}
	r.visited = nil // these were not asked for
	for other, err := range r.Keys(table, "") {
		if err != nil || len(keys) == present {
			return
		}
		keys[other] = true
	}
	known.keys = keys
}

// tableOf is what the keys of a table begin with, "" for a key of none.
func tableOf(key string) string { return key[:strings.IndexByte(key, '/')+1] }
