package lookup_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/lookup"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/verify"
)

// peer is a platform that does with a question what answer says; nil hangs.
type peer struct {
	id     platform.ID
	answer func(*platform.Call)
	asked  chan *platform.Call
}

func newPeer(id platform.ID, answer func(*platform.Call)) *peer {
	return &peer{id: id, answer: answer, asked: make(chan *platform.Call, 1000)}
}

func (p *peer) Info() platform.Info {
	return platform.Info{Entry: platform.Entry{ID: p.id, Address: "peer:1", Functions: platform.FunctionLookup, SelfServiceURL: "https://peer.example/"}, MaxBatch: 1}
}

func (p *peer) Ask(c *platform.Call) {
	p.asked <- c
	if p.answer != nil {
		p.answer(c)
	}
}

func (p *peer) Withdraw(c *platform.Call) { c.Finish(platform.Answer{State: platform.Silent}) }

func (p *peer) Unbind(context.Context, platform.UnbindOrder) (platform.Report, error) {
	return platform.Report{}, &platform.CallError{Code: "UNIMPLEMENTED"}
}

func (p *peer) UnbindStatus(context.Context, string) (platform.Report, error) {
	return platform.Report{}, &platform.CallError{Code: "UNIMPLEMENTED"}
}

func bound() platform.Answer {
	return platform.Answer{State: platform.Bound, AnswerTime: time.Now(), Accounts: []platform.Account{{Ref: "r", Product: "商店", Period: platform.BeforeHolder}}}
}

// atOnce answers within Ask, after from another goroutine.
func atOnce(c *platform.Call) { c.Finish(bound()) }

func after(d time.Duration) func(*platform.Call) {
	return func(c *platform.Call) { time.AfterFunc(d, func() { c.Finish(bound()) }) }
}

// hub is the lookup part of a hub in a bubble, over a real store.
type hub struct {
	*testing.T
	path    string
	keys    *seal.Keys
	store   *bolt.Store
	service *lookup.Service
	limits  lookup.Limits
	joined  []platform.Platform
	extra   []platform.Entry // catalogued, not joined
	carrier platform.Carrier
	outbox  *outbox

	mu       sync.Mutex
	observed map[platform.ID][]platform.Answer
	late     map[platform.ID]int // late answers that were observed
}

// inHub runs a story. The platforms must be in the order of their ids.
func inHub(t *testing.T, story func(*hub), platforms ...*peer) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		h := &hub{T: t, path: filepath.Join(dir, "hub.db"), observed: make(map[platform.ID][]platform.Answer), late: make(map[platform.ID]int), outbox: new(outbox)}
		h.limits = lookup.DefaultLimits()
		h.check(seal.Create(filepath.Join(dir, "keys.json")))
		var err error
		h.keys, err = seal.Load(filepath.Join(dir, "keys.json"))
		h.check(err)
		for _, p := range platforms {
			h.joined = append(h.joined, p)
		}
		h.open()
		story(h)
		h.service.Close(t.Context())
		h.check(h.store.Close())
	})
}

func (h *hub) check(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *hub) open() {
	var err error
	h.store, err = bolt.Open(h.path, h.keys)
	h.check(err)
	h.service = lookup.New(lookup.Options{
		Store: h.store, Joined: h.Joined, Catalogue: h.catalogue, MAC: h.keys,
		Limits: h.limits, Observe: h.observe, ObserveLate: h.observeLate, Carrier: h.carrier, Notifier: h.outbox,
		Logger: slog.New(slog.DiscardHandler),
	})
}

// crash ends the hub without a word: the service is dropped as it is.
func (h *hub) crash() {
	h.check(h.store.Close())
	h.open()
}

func (h *hub) observe(id platform.ID, a platform.Answer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.observed[id] = append(h.observed[id], a)
}

func (h *hub) observeLate(id platform.ID, a platform.Answer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a.State.Answered() {
		h.late[id]++
	}
}

// join changes who has joined; they must be in the order of their ids.
func (h *hub) join(platforms ...platform.Platform) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.joined = platforms
}

func (h *hub) Joined() []platform.Platform {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.joined
}

func (h *hub) catalogue() []platform.Entry {
	var out []platform.Entry
	for _, p := range h.Joined() {
		e := p.Info().Entry
		e.DisplayName, e.Category = "名称", "实用工具"
		out = append(out, e)
	}
	return append(out, h.extra...)
}

// request is a request of a person, known by a name, with a session.
func (h *hub) request(who string) lookup.Request {
	h.Helper()
	n, err := phone.ParseNumber("13800130001")
	h.check(err)
	x, err := phone.ParseIDSuffix(phone.ResidentID, "01123X")
	h.check(err)
	now := time.Now()
	v := verify.Verification{ID: seal.NewID(now), Number: n, NumberIndex: phone.IndexOf(h.keys, n), Suffix: x, CreateTime: now, ExpireTime: now.Add(time.Minute)}
	limits := verify.Limits{Tries: 1, CodeLife: time.Minute}
	h.check(h.store.OpenVerification(h.Context(), v, limits))
	s := verify.Session{
		Key: [32]byte(seal.Token(32)), Subject: h.keys.Sum("subject", []byte(who)), Number: n, NumberIndex: v.NumberIndex, Suffix: x,
		CreateTime: now, ExpireTime: now.Add(15 * time.Minute),
	}
	_, err = h.store.Confirm(h.Context(), verify.Confirmation{ID: v.ID, CodeDigest: v.CodeDigest, Session: s, Now: now}, limits)
	h.check(err)
	return lookup.Request{Subject: s.Subject, Number: n, NumberIndex: s.NumberIndex, HolderSince: now.Add(-time.Hour), SessionKey: s.Key}
}

func (h *hub) start(r lookup.Request) lookup.Lookup {
	h.Helper()
	l, err := h.service.Start(h.Context(), r)
	h.check(err)
	return l
}

func (h *hub) get(r lookup.Request, id string) lookup.Lookup {
	h.Helper()
	synctest.Wait()
	l, err := h.service.Get(h.Context(), r.Subject, id)
	h.check(err)
	return l
}

// states wants the rows to stand so and the lookup to be complete or not.
func (h *hub) states(l lookup.Lookup, complete bool, want ...platform.State) {
	h.Helper()
	if l.Complete != complete || len(l.Rows) != len(want) {
		h.Fatalf("complete %v with %d rows; want %v with %d", l.Complete, len(l.Rows), complete, len(want))
	}
	for i, r := range l.Rows {
		if r.State != want[i] || (r.State == platform.Bound) != (len(r.Accounts) == 1) {
			h.Errorf("row %d (%s) has state %d and %d accounts, want state %d", i, r.Platform, r.State, len(r.Accounts), want[i])
		}
	}
}

func TestAnswers(t *testing.T) {
	fast, slow := newPeer("fast", atOnce), newPeer("slow", after(time.Second))
	dead, late := newPeer("dead", nil), newPeer("late", after(2501*time.Millisecond))
	inHub(t, func(h *hub) {
		h.extra = []platform.Entry{{ID: "without", DisplayName: "未接入", Category: "短视频"}}
		r := h.request("alice")
		r.Trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		l := h.start(r)
		h.states(l, false, platform.Pending, platform.Bound, platform.Pending, platform.Pending, platform.NotJoined)
		time.Sleep(time.Second)
		h.states(h.get(r, l.ID), false, platform.Pending, platform.Bound, platform.Pending, platform.Bound, platform.NotJoined)
		time.Sleep(1500 * time.Millisecond)
		got := h.get(r, l.ID)
		h.states(got, true, platform.Silent, platform.Bound, platform.Silent, platform.Bound, platform.NotJoined)
		asked, answered, silent := got.Counts()
		if asked != 4 || answered != 2 || silent != 2 {
			h.Errorf("counts %d, %d, %d", asked, answered, silent)
		}
		if row := got.Rows[1]; row.DisplayName != "名称" || row.Functions != platform.FunctionLookup || row.SelfServiceURL != "https://peer.example/" {
			h.Errorf("row %+v", row)
		}
		c := <-fast.asked
		if c.Number != r.Number || !c.HolderSince.Equal(r.HolderSince) || !c.Deadline.Equal(l.CreateTime.Add(2500*time.Millisecond)) || c.Trace != r.Trace {
			h.Errorf("the platform was asked %+v", c)
		}
		time.Sleep(time.Minute) // what comes after the deadline changes nothing
		h.states(h.get(r, l.ID), true, platform.Silent, platform.Bound, platform.Silent, platform.Bound, platform.NotJoined)
		// What was handed out before stays as it was.
		h.states(l, false, platform.Pending, platform.Bound, platform.Pending, platform.Pending, platform.NotJoined)
		for _, id := range []platform.ID{"fast", "slow", "dead", "late"} {
			if n := len(h.observed[id]); n != 1 {
				h.Errorf("%d answers of %s were observed", n, id)
			}
		}
	}, dead, fast, late, slow)
}

func TestChosenPlatforms(t *testing.T) {
	a, b := newPeer("aaa", atOnce), newPeer("bbb", atOnce)
	inHub(t, func(h *hub) {
		h.extra = []platform.Entry{{ID: "outside"}}
		r := h.request("alice")
		r.Platforms = []platform.ID{"bbb", "outside"}
		h.states(h.get(r, h.start(r).ID), true, platform.NotAsked, platform.Bound, platform.NotJoined)
		if len(a.asked) != 0 {
			h.Error("a platform was asked that was not chosen")
		}
		r.Platforms = []platform.ID{"bbb", "nobody"}
		_, err := h.service.Start(h.Context(), r)
		if !errors.Is(err, fault.PlatformUnknown) || fault.Of(err).Field != "platformIds[1]" {
			h.Errorf("unknown platform: %v", err)
		}
		r.Platforms = []platform.ID{"outside"}
		h.states(h.start(r), true, platform.NotAsked, platform.NotAsked, platform.NotJoined)
	}, a, b)
}

func TestNoPlatforms(t *testing.T) {
	inHub(t, func(h *hub) {
		r := h.request("alice")
		l := h.start(r)
		h.states(l, true)
		h.crash()
		h.states(h.get(r, l.ID), true)
	})
}

func TestManyPlatforms(t *testing.T) {
	var peers []*peer
	for i := range 500 {
		answer := []func(*platform.Call){atOnce, after(time.Duration(i) * time.Millisecond), nil, after(2500 * time.Millisecond)}[i%4]
		peers = append(peers, newPeer(platform.ID(fmt.Sprintf("p%03d", i)), answer))
	}
	inHub(t, func(h *hub) {
		r := h.request("alice")
		l := h.start(r)
		time.Sleep(2500 * time.Millisecond)
		got := h.get(r, l.ID)
		asked, answered, silent := got.Counts()
		if !got.Complete || asked != 500 || answered < 250 || answered+silent != 500 {
			h.Errorf("complete %v: %d asked, %d answered, %d silent", got.Complete, asked, answered, silent)
		}
		if got.Revision != 1+500+1 {
			h.Errorf("revision %d after 500 answers", got.Revision)
		}
	}, peers...)
}

func TestOtherSubject(t *testing.T) {
	inHub(t, func(h *hub) {
		r := h.request("alice")
		l := h.start(r)
		other := h.request("carol").Subject
		for range 2 { // while it runs, and from the store
			if _, err := h.service.Get(h.Context(), other, l.ID); !errors.Is(err, fault.LookupNotFound) {
				h.Errorf("another person's lookup: %v", err)
			}
			if _, err := h.service.Wait(h.Context(), other, l.ID, time.Hour, 99); !errors.Is(err, fault.LookupNotFound) {
				h.Errorf("waiting for another person's lookup: %v", err)
			}
			time.Sleep(time.Minute)
		}
		if _, err := h.service.Get(h.Context(), r.Subject, seal.NewID(time.Now())); !errors.Is(err, fault.LookupNotFound) {
			h.Errorf("unknown lookup: %v", err)
		}
	}, newPeer("dead", nil))
}

func TestRepeatedRequest(t *testing.T) {
	p := newPeer("aaa", after(time.Second))
	inHub(t, func(h *hub) {
		r := h.request("alice")
		r.RequestID = "once"
		first := h.start(r)
		if again := h.start(r); again.ID != first.ID || again.Complete {
			h.Errorf("a repeat returned %s", again.ID)
		}
		time.Sleep(time.Minute)
		if again := h.start(r); again.ID != first.ID || !again.Complete {
			h.Errorf("a late repeat returned %s, complete %v", again.ID, again.Complete)
		}
		if len(p.asked) != 1 {
			h.Errorf("the platform was asked %d times", len(p.asked))
		}
		r.Platforms = []platform.ID{"aaa"}
		if _, err := h.service.Start(h.Context(), r); !errors.Is(err, fault.RequestIDReused) {
			h.Errorf("another body: %v", err)
		}
	}, p)
}
