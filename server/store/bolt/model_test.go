package bolt_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tongcha/tongcha/server/clock"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/unbind"
)

// TestModel: whatever is done to a store in whatever order, over restarts and
// months, it says what a map of orders says, and a check finds nothing. MODEL_SEEDS
// is how many stories are told. It is not run beside others: those start processes,
// which hold every lock of a file for a moment, and a bubble's time does not wait.
func TestModel(t *testing.T) {
	seeds := 12
	if n, err := strconv.Atoi(os.Getenv("MODEL_SEEDS")); err == nil {
		seeds = n
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { tellModel(t, seed) }) })
	}
}

func tellModel(t *testing.T, seed uint64) {
	dir := t.TempDir()
	m := &model{
		sample: &sample{T: t, keys: keysIn(t, dir)}, path: filepath.Join(dir, "hub.db"), rand: rand.New(rand.NewPCG(seed, 1)),
		orders: map[string]*kept{}, requests: map[int]*request{}, used: map[phone.Index]int{}, usedTill: map[phone.Index]time.Time{},
	}
	m.open()
	defer func() { _ = m.s.Close() }()
	m.began = m.now
	acts := []func(){
		m.enqueue, m.enqueue, m.repeat, m.claim, m.claim, m.finish, m.finish, m.finish, m.extend, m.release, m.report, m.report,
		m.cancel, m.appeal, m.replay, m.discard, m.sweep, m.wait, m.together,
	}
	for i := range 400 {
		acts[m.rand.IntN(len(acts))]()
		if i%40 == 39 {
			m.compare()
		}
		if m.rand.IntN(60) == 0 {
			m.ok(m.s.Close())
			good(t, m.path, m.keys)
			m.open()
		}
	}
	m.compare()
	m.ok(m.s.Close())
	good(t, m.path, m.keys)
}

// model is a store beside a map that should say the same.
type model struct {
	*sample
	path     string
	rand     *rand.Rand
	orders   map[string]*kept
	requests map[int]*request // by the number they are told apart by
	used     map[phone.Index]int
	usedTill map[phone.Index]time.Time
	tally    [10]int // by state; orders that were swept still count
	run      int64
	token    uint64
	began    time.Time
	claims   []unbind.Claim // also such as are not good any more
}

// kept is an order as it should be.
type kept struct {
	unbind.Order
	token uint64 // of the newest lease; 0 for none
	until time.Time
	doubt bool // a holder was lost
}

// request is what was asked for.
type request struct {
	e   unbind.Enqueue
	ids []string
	end time.Time
}

func (m *model) open() {
	m.Helper()
	s, err := bolt.Open(m.path, m.keys, bolt.WithClock(clock.New(clock.Options{Accept: true})))
	m.ok(err)
	m.s, m.run = s, m.run+1
	for _, o := range m.orders {
		o.token, o.doubt = 0, false
	}
	m.now = time.Now().UTC().Round(0)
}

// any picks an order, or an id that there is not.
func (m *model) any() *kept {
	if len(m.orders) == 0 || m.rand.IntN(40) == 0 {
		return &kept{Order: unbind.Order{ID: "none", Platform: "shop"}}
	}
	ids := make([]string, 0, len(m.orders))
	for id := range m.orders {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return m.orders[ids[m.rand.IntN(len(ids))]]
}

func (k *kept) live(now time.Time) bool { return k.token != 0 && now.Before(k.until) }

// shown is the order as people see it.
func (m *model) shown(k *kept) unbind.Order {
	o := k.Order
	if o.State.Rank() == unbind.Queued.Rank() && k.live(m.now) {
		o.State = unbind.Sending
	}
	return o
}

// want compares an error with a reason; "" is none.
func (m *model) want(what string, err error, reason fault.Reason) {
	m.Helper()
	if reason == "" && err != nil || reason != "" && !errors.Is(err, reason) {
		m.Fatalf("%s: error %v, want %q", what, err, reason)
	}
}

func (m *model) same(what string, got, want any) {
	m.Helper()
	if !reflect.DeepEqual(got, want) {
		m.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// apply moves an order of the map.
func (m *model) apply(k *kept, t unbind.Transition) bool {
	m.tally[k.State]--
	k.History = slices.Clone(k.History)
	changed := k.Apply(t)
	m.tally[k.State]++
	for _, other := range m.orders { // what a carrier said of the holder is void for the others too
		if t.HolderGone() && other.Subject == k.Subject && other.ID != k.ID && !other.State.Final() {
			other.HolderChecked = time.Time{}
		}
	}
	return changed
}

const perDay = 6

func (m *model) enqueue() {
	p := m.person(m.rand.IntN(4))
	e := unbind.Enqueue{Subject: p.subject, NumberIndex: p.index, RequestKey: [32]byte(seal.Token(32)), DailyLimit: perDay, Now: m.now}
	for range 1 + m.rand.IntN(3) {
		at := []platform.ID{"bank", "shop", "video"}[m.rand.IntN(3)]
		o := unbind.New(seal.NewID(m.now), m.now, m.now.Add(120*time.Hour), unbind.Order{
			Platform: at, Subject: p.subject, NumberIndex: p.index, Number: p.number, HolderChecked: m.now,
			AccountRefs: [][]string{{"r1"}, {"r2"}, {"r1", "r2"}}[m.rand.IntN(3)], BoundBefore: m.now.Add(-3000 * time.Hour),
		})
		e.Items = append(e.Items, unbind.Item{Platform: at, Order: &o})
	}
	m.place(&request{e: e})
}

// repeat sends a request again, at times with another body.
func (m *model) repeat() {
	if len(m.requests) == 0 {
		return
	}
	r := m.requests[m.rand.IntN(len(m.requests))]
	e := r.e
	e.Now = m.now
	if !m.now.Before(r.end) {
		return // it would be a new request, with the ids of old orders
	}
	if m.rand.IntN(4) == 0 {
		e.BodyDigest[0]++
		_, err := m.s.Enqueue(m.Context(), e)
		m.want("another body", err, fault.RequestIDReused)
		return
	}
	placed, err := m.s.Enqueue(m.Context(), e)
	m.want("repeat", err, "")
	for i, p := range placed {
		m.same("repeated", p.Order.ID, r.ids[i])
		if k := m.orders[p.Order.ID]; k != nil {
			m.same("order of a repeat", p.Order, m.shown(k))
		}
	}
}

// place works out what a request should be answered with.
func (m *model) place(r *request) {
	placed, err := m.s.Enqueue(m.Context(), r.e)
	index := r.e.NumberIndex
	if !m.now.Before(m.usedTill[index]) {
		m.used[index] = 0
	}
	made, standing := 0, 0
	fresh := make([]*kept, len(r.e.Items))
	for i, item := range r.e.Items {
		id, reason := "", fault.Reason("")
		switch old := m.standing(*item.Order); {
		case old != nil:
			id = old.ID
			standing++
		case m.used[index]+made >= perDay:
			reason = fault.DailyLimit
		default:
			made++
			fresh[i] = &kept{Order: *item.Order}
			fresh[i].Run, id = m.run, item.Order.ID
			m.orders[id] = fresh[i]
			m.tally[unbind.Queued]++
		}
		if err == nil {
			m.same("placed", []any{placed[i].Order.ID, placed[i].Reason}, []any{id, reason})
			if id != "" {
				m.same("order placed", placed[i].Order, m.shown(m.orders[id]))
			}
		}
		r.ids = append(r.ids, id)
	}
	if made+standing == 0 {
		m.want("no more today", err, fault.DailyLimit)
		return
	}
	m.want("enqueue", err, "")
	if made > 0 {
		if m.used[index] == 0 {
			m.usedTill[index] = m.now.Add(24 * time.Hour)
		}
		m.used[index] += made
	}
	r.end = m.now.Add(24 * time.Hour)
	m.requests[len(m.requests)] = r
}

func (m *model) standing(o unbind.Order) *kept {
	var best *kept
	for _, k := range m.orders {
		if k.Subject == o.Subject && k.Platform == o.Platform && !k.State.Final() && k.Covers(o.AccountRefs) && (best == nil || k.ID > best.ID) {
			best = k
		}
	}
	return best
}

func (m *model) claim() {
	room, most := m.rand.IntN(4), 1+m.rand.IntN(6)
	away := []platform.ID{"", "bank", "shop"}[m.rand.IntN(3)]
	claims, _, err := m.s.Claim(m.Context(), unbind.ClaimRequest{Now: m.now, Lease: time.Minute, Max: most, Free: func(p platform.ID) int {
		if p == away {
			return 0
		}
		return room
	}})
	m.want("claim", err, "")
	due := map[platform.ID][]*kept{}
	for _, k := range m.orders {
		if k.Platform != away && !k.State.Final() && !k.NextTime.After(m.now) && !k.live(m.now) {
			due[k.Platform] = append(due[k.Platform], k)
		}
	}
	var all []*kept
	for _, id := range []platform.ID{"bank", "shop", "video"} {
		slices.SortFunc(due[id], func(a, b *kept) int { return cmp.Or(a.NextTime.Compare(b.NextTime), cmp.Compare(a.ID, b.ID)) })
		all = append(all, due[id][:min(len(due[id]), room)]...)
	}
	slices.SortStableFunc(all, func(a, b *kept) int { return a.NextTime.Compare(b.NextTime) })
	all = all[:min(len(all), most)]
	m.same("claims", len(claims), len(all))
	for i, c := range claims {
		k := all[i]
		m.same("claim", c.Order, k.Order)
		if c.Token <= m.token {
			m.Fatal("tokens do not grow")
		}
		m.token = c.Token
		k.doubt = k.doubt || k.token != 0
		k.token, k.until = c.Token, c.Until
	}
	m.claims = append(m.claims, claims...)
}
