package group

import (
	"sync"
	"sync/atomic"
)

// durable knows up to which transaction everything is on disk. bbolt shows a
// transaction to readers from when its last page is written, which is before the
// sync that makes it last; a sync that fails takes it back.
type durable struct {
	committing sync.RWMutex // held for writing during a commit
	last       atomic.Int64 // the id of the last transaction that is on disk
}

// commit runs commit as transaction id. Whoever saw that one in the meantime waits
// for the end.
func (d *durable) commit(id int, commit func() error) error {
	d.committing.Lock()
	defer d.committing.Unlock()
	err := commit()
	if err == nil {
		d.last.Store(int64(id))
	}
	return err
}

// reached reports whether transaction id is on disk. Where it is not yet, it waits
// for the commit under way.
func (d *durable) reached(id int) bool {
	if int64(id) <= d.last.Load() {
		return true
	}
	d.committing.RLock()
	defer d.committing.RUnlock()
	return int64(id) <= d.last.Load()
}
