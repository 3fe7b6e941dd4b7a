package snmp

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/gosnmp/gosnmp"

	"walt/fault"
)

// row is one value of a column of a table, under what is left of its OID.
type row struct {
	index []int
	value any
}

// longest is how many rows of a table are read: more than any switch has.
const longest = 1 << 18

// sizes are how many rows of a table are asked for at once, the most first. One
// is asked for with GETNEXT, which every agent knows: some agents answer no
// request for many rows, or with an error, or wrongly.
var sizes = [...]uint32{32, 10, 1}

// fewer has the session ask for fewer rows at once from now on, rather than for
// so many, and reports whether that can be.
func (s *Session) fewer(rows uint32) bool {
	i := slices.Index(sizes[:], rows)
	if i == len(sizes)-1 {
		return false
	}
	s.rows.CompareAndSwap(rows, sizes[i+1])
	return true
}

// next asks for the rows that follow an OID, for fewer of them when no answer
// comes. asked is for how many it was the last time.
func (s *Session) next(ctx context.Context, oid string) (answer *gosnmp.SnmpPacket, asked uint32, err error) {
	answer, err = s.ask(ctx, func(c *gosnmp.GoSNMP) (*gosnmp.SnmpPacket, error) {
		if asked > 0 {
			s.fewer(asked)
		}
		if asked = s.rows.Load(); asked == 1 {
			return c.GetNext([]string{oid})
		}
		return c.GetBulk([]string{oid}, 0, asked)
	})
	return answer, asked, err
}

// walk reads a column of a table, which is empty if the agent does not have it.
func (s *Session) walk(ctx context.Context, column string) ([]row, error) {
	var rows []row
	seen := map[string]bool{}
asking:
	for oid := column; len(rows) < longest; {
		answer, asked, err := s.next(ctx, oid)
		switch {
		case err != nil:
			return nil, err
		case answer.Error == gosnmp.NoSuchName: // version 1: the end of all tables
			return rows, nil
		case answer.Error != gosnmp.NoError:
			if s.fewer(asked) {
				continue
			}
			return nil, Refusal{s.refused("refuses to be read", answer.Error)}
		}
		for _, v := range answer.Variables {
			index, inside := below(v.Name, column)
			if !inside || v.Value == nil { // a nil is the end of all tables, or stands for no such one
				return rows, nil
			}
			if seen[v.Name] {
				if s.fewer(asked) {
					continue asking
				}
				return nil, Refusal{fault.Failedf("%s has a looping SNMP table: %s does not end", s, column)}
			}
			seen[v.Name] = true
			rows = append(rows, row{index, v.Value})
			oid = v.Name
		}
		if len(answer.Variables) == 0 && !s.fewer(asked) {
			return rows, nil
		}
	}
	return nil, fault.Failedf("%s has a table %s of more than %d rows", s, column, longest)
}

// Refusal is that an agent answers with an error, nonsense, or that it has no such
// port, however long that took: it is there.
type Refusal struct{ Err error }

func (r Refusal) Error() string { return r.Err.Error() }

func (r Refusal) Unwrap() error { return r.Err }

// optional is walk of a column that helps where it can be read.
func (s *Session) optional(ctx context.Context, column string) ([]row, error) {
	rows, err := s.walk(ctx, column)
	if _, refused := errors.AsType[Refusal](err); refused {
		return nil, nil
	}
	return rows, err
}

// below returns what follows the OID of a column in the OID of one of its values.
func below(oid, column string) (index []int, inside bool) {
	rest, inside := strings.CutPrefix(oid, column+".")
	if !inside {
		return nil, false
	}
	for part := range strings.SplitSeq(rest, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil, false
		}
		index = append(index, n)
	}
	return index, true
}
