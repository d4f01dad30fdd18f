package coverage

import (
	"slices"
	"strings"

	"github.com/tongcha/tongcha/server/platform"
)

// ChangeKind is what an import does to one platform.
type ChangeKind string

// The kinds of change.
const (
	Added   ChangeKind = "ADDED"
	Changed ChangeKind = "CHANGED"
	Missing ChangeKind = "MISSING" // the file does not have it; it stays as it is
	Removed ChangeKind = "REMOVED"
)

// FieldChange is the difference in one column, as a file writes it.
type FieldChange struct {
	Column, Before, After string
}

// Change is the difference in one platform.
type Change struct {
	ID     platform.ID
	Kind   ChangeKind
	Fields []FieldChange  // of Changed only
	Joined bool           // it has an address, so it is not removed
	Entry  platform.Entry // as it will be; zero for Missing and Removed
}

// Compare says what importing a file's rows changes of a catalogue, ordered by
// id, and how many rows change nothing. Where and whether a platform has joined
// is never changed. remove takes out those that the file does not have and that
// are only catalogued. Both lists are ordered by id.
func Compare(catalogue, file []platform.Entry, remove bool) (changes []Change, unchanged int) {
	byID := make(map[platform.ID]platform.Entry, len(catalogue))
	for _, e := range catalogue {
		byID[e.ID] = e
	}
	for _, row := range file {
		old, known := byID[row.ID]
		delete(byID, row.ID)
		switch fields := differences(old, row); {
		case !known:
			changes = append(changes, Change{ID: row.ID, Kind: Added, Entry: row})
		case len(fields) > 0:
			next := old
			next.DisplayName, next.Category, next.Listing = row.DisplayName, row.Category, row.Listing
			changes = append(changes, Change{ID: row.ID, Kind: Changed, Fields: fields, Joined: old.Address != "", Entry: next})
		default:
			unchanged++
		}
	}
	for id, e := range byID {
		c := Change{ID: id, Kind: Missing, Joined: e.Address != ""}
		if remove && !c.Joined {
			c.Kind = Removed
		}
		changes = append(changes, c)
	}
	slices.SortFunc(changes, func(a, b Change) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return changes, unchanged
}

func differences(old, row platform.Entry) []FieldChange {
	var out []FieldChange
	before, after := fileCells(old), fileCells(row)
	for i, column := range fileColumns() {
		if before[i] != after[i] {
			out = append(out, FieldChange{Column: column, Before: before[i], After: after[i]})
		}
	}
	return out
}
