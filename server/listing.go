package server

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/platform"
)

// Import takes over the rows of a catalogue file, all of them in one transaction,
// and returns what changed and how many rows changed nothing; with dryRun only
// what would. Where, whether and since when a platform has joined stays as it is.
// remove takes out platforms that the file does not have and that are only
// catalogued. A crash leaves the old catalogue or the new one.
func (c *Catalogue) Import(ctx context.Context, rows []platform.Entry, dryRun, remove bool) ([]coverage.Change, int, error) {
	c.changes.Lock()
	defer c.changes.Unlock()
	changes, unchanged, err := c.importRows(ctx, rows, dryRun, remove)
	if err != nil || dryRun {
		return changes, unchanged, err
	}
	for _, change := range changes {
		if change.Kind == coverage.Changed && change.Joined && c.dialled {
			if err := c.follow(change.ID); err != nil {
				return nil, 0, err
			}
		}
	}
	c.log.InfoContext(ctx, "catalogue imported", "changes", len(changes), "unchanged", unchanged)
	return changes, unchanged, nil
}

// importRows changes the store and the entries.
func (c *Catalogue) importRows(ctx context.Context, rows []platform.Entry, dryRun, remove bool) ([]coverage.Change, int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	changes, unchanged := coverage.Compare(c.Entries(), rows, remove)
	if dryRun {
		return changes, unchanged, nil
	}
	var put []platform.Entry
	var gone []platform.ID
	now := c.now()
	for _, change := range changes {
		switch change.Kind {
		case coverage.Added:
			change.Entry.AddTime = now
			put = append(put, change.Entry)
		case coverage.Changed:
			put = append(put, change.Entry)
		case coverage.Removed:
			gone = append(gone, change.ID)
		}
	}
	if len(put) == 0 && len(gone) == 0 {
		return changes, unchanged, nil
	}
	if err := c.store.ChangePlatforms(ctx, put, gone); err != nil {
		return nil, 0, fmt.Errorf("record catalogue: %w", err)
	}
	c.replaceAll(put, gone)
	return changes, unchanged, nil
}

// replaceAll makes the next snapshot of the entries, in one step for all readers.
func (c *Catalogue) replaceAll(put []platform.Entry, gone []platform.ID) {
	left := make(map[platform.ID]bool, len(put)+len(gone))
	for _, e := range put {
		left[e.ID] = true
	}
	for _, id := range gone {
		left[id] = true
	}
	next := slices.DeleteFunc(slices.Clone(c.Entries()), func(e platform.Entry) bool { return left[e.ID] })
	next = append(next, put...)
	slices.SortFunc(next, func(a, b platform.Entry) int { return cmp.Compare(a.ID, b.ID) })
	c.entries.Store(&next)
}

// follow lets the roster take over a joined platform's new name and category. Its
// address is as before, so nothing is dialled.
func (c *Catalogue) follow(id platform.ID) error {
	e, ok := c.entry(id)
	if !ok {
		return nil
	}
	if err := c.roster.Update(e); err != nil {
		return fmt.Errorf("update %s: %w", id, err)
	}
	return nil
}
