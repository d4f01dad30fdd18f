// Package storetest is the contract of a store: one suite over the ports of the
// packages that need one, run on every store there is.
//
// Whatever has to survive a restart is checked after the store was closed and
// opened again in the middle of the story.
package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/lookup"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
	"github.com/tongcha/tongcha/server/verify"
)

// Queue is what a store of orders alone has to do.
type Queue interface {
	unbind.Queue
	unbind.Orders
	unbind.DeadLetters
	Close() error
}

// Store is everything a store has to do.
type Store interface {
	Queue
	others
}

// others are the ports that have nothing to do with orders.
type others interface {
	verify.Store
	lookup.Store
	coverage.Store
	unbind.PauseStore

	// OpenOrders returns open orders, the oldest due first, and where to go on.
	OpenOrders(context.Context, unbind.OpenOrderQuery) (orders []unbind.Order, next string, err error)
	PutPlatform(context.Context, platform.Entry) error
	ChangePlatforms(ctx context.Context, put []platform.Entry, remove []platform.ID) error
	Platforms(context.Context) ([]platform.Entry, error)
	// Sweep deletes at most limit records whose time is over.
	Sweep(ctx context.Context, now time.Time, limit int) (more bool, err error)
}

// Run runs the suite. open opens the store that lies in dir, or makes it; it is
// called again for the same dir after a Close.
func Run(t *testing.T, open func(t *testing.T, dir string) Store) {
	run(t, open, queueCases, claimCases, reportCases, deadCases, operatorCases, verifyCases, lookupCases, recordCases, dayCases)
}

// RunQueue runs the part of the suite that is about orders, for a store that
// holds nothing else.
func RunQueue(t *testing.T, open func(t *testing.T, dir string) Queue) {
	whole := func(t *testing.T, dir string) Store {
		return struct {
			Queue
			others
		}{Queue: open(t, dir)}
	}
	run(t, whole, queueCases, claimCases, reportCases, deadCases)
}

func run(t *testing.T, open func(t *testing.T, dir string) Store, groups ...map[string]func(*fixture)) {
	for _, group := range groups {
		for name, run := range group {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				run(newFixture(t, open))
			})
		}
	}
}

// fixture is a store of one test and the story's clock.
type fixture struct {
	*testing.T
	Store
	dir  string
	open func(t *testing.T, dir string) Store
	now  time.Time // when the story is told; the store's own clock says about the same
	ctx  context.Context
}

func newFixture(t *testing.T, open func(t *testing.T, dir string) Store) *fixture {
	f := &fixture{T: t, dir: t.TempDir(), open: open, now: time.Now().UTC().Truncate(time.Microsecond), ctx: t.Context()}
	f.Store = open(t, f.dir)
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return f
}

// reopen is a restart.
func (f *fixture) reopen() {
	f.Helper()
	f.ok(f.Close())
	f.Store = f.open(f.T, f.dir)
}

func (f *fixture) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// refused wants an error of the reason.
func (f *fixture) refused(err error, want fault.Reason) {
	f.Helper()
	_ = f.fault(err, want)
}

// fault wants an error of the reason and returns it.
func (f *fixture) fault(err error, want fault.Reason) *fault.Error {
	f.Helper()
	if !errors.Is(err, want) {
		f.Fatalf("error = %v, want %s", err, want)
	}
	return fault.Of(err)
}

func (f *fixture) same(what string, got, want any) {
	f.Helper()
	if !reflect.DeepEqual(got, want) {
		f.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// digest stands for the hub's keyed digests.
type digest struct{}

// Sum implements phone.MAC.
func (digest) Sum(purpose string, parts ...[]byte) [32]byte {
	h := sha256.New()
	for _, p := range append([][]byte{[]byte(purpose)}, parts...) {
		_ = binary.Write(h, binary.BigEndian, int64(len(p)))
		_, _ = h.Write(p)
	}
	return [32]byte(h.Sum(nil))
}

func sum(parts ...string) [32]byte {
	var b [][]byte
	for _, p := range parts {
		b = append(b, []byte(p))
	}
	return digest{}.Sum("test", b...)
}

// person is someone with a number.
type person struct {
	number  phone.Number
	suffix  phone.IDSuffix
	index   phone.Index
	subject phone.Subject
}

func (f *fixture) person(number, suffix string) person {
	f.Helper()
	n, err := phone.ParseNumber(number)
	f.ok(err)
	x, err := phone.ParseIDSuffix(phone.ResidentID, suffix)
	f.ok(err)
	return person{number: n, suffix: x, index: phone.IndexOf(digest{}, n), subject: phone.SubjectOf(digest{}, n, x)}
}

// alice and bob have different numbers; carol has had alice's since.
func (f *fixture) alice() person { return f.person("13800130001", "01123X") }
func (f *fixture) bob() person   { return f.person("13800130002", "022345") }
func (f *fixture) carol() person { return f.person("13800130001", "311114") }
