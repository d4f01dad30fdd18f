package simtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/unbind"
)

// line is a number and the persons who hold it one after the other.
type line struct {
	w       *world
	rnd     *rand.Rand
	number  phone.Number
	holders []*person // the last one holds it now; changed in quiet moments alone
	stale   map[*peer]found
}

// person is one holder of a number.
type person struct {
	name    string
	number  phone.Number
	since   time.Time
	subject phone.Subject
	orders  []string
}

// found is what a lookup found at a platform.
type found struct{ old, own []string }

func (p *person) key() string { return holderKey(p.number.E164(), p.since) }

func (w *world) newLine(i int) *line {
	n, err := phone.ParseNumber(fmt.Sprintf("138%08d", i))
	w.must(err)
	l := &line{w: w, rnd: w.rand(fmt.Sprint("line", i)), number: n}
	l.hold(w.begin.Add(-200 * day))
	return l
}

// hold gives the number to a new person.
func (l *line) hold(since time.Time) {
	name := fmt.Sprintf("%s, holder %d,", l.number.E164(), len(l.holders)+1)
	l.holders = append(l.holders, &person{name: name, number: l.number, since: since, subject: l.w.keys.Sum("subject", []byte(name))})
	l.stale = make(map[*peer]found)
}

func (l *line) holder() *person { return l.holders[len(l.holders)-1] }

func (l *line) chance(share float64) bool { return l.rnd.Float64() < share }

func (l *line) wait(mean time.Duration) bool {
	return nap(l.w.ctx, time.Duration(l.rnd.ExpFloat64()*float64(mean)))
}

// live is the life of the number.
func (l *line) live() {
	for l.wait(l.w.o.busy) && !l.w.ledger.broken() {
		x := l.rnd.Float64()
		resting := time.Now().After(l.w.rests)
		switch {
		case x < 0.45 && !resting:
			l.order()
		case x < 0.50 && !l.w.isWell():
			l.changeHands()
		case x < 0.55:
			l.w.peers[l.rnd.IntN(len(l.w.peers))].rebind(l.number.E164())
		case x < 0.67:
			l.cancel(l.openOrder())
		case x < 0.72 && !resting:
			l.appeal()
		case x < 0.85:
			l.look(time.Duration(l.rnd.Float64() * float64(3*hour)))
		case x < 0.92:
			if p, id := l.anyOrder(); p != nil {
				for _, at := range l.w.peers {
					at.visit(id)
				}
			}
		default:
			l.look(0)
		}
	}
}

// changeHands gives the number to somebody else; the one before may still look at
// orders, and take them back.
func (l *line) changeHands() { l.hold(l.w.carrier.changeHands(l.number.E164())) }

// anyOrder picks an order of anybody who holds or held the number.
func (l *line) anyOrder() (*person, string) {
	p := l.holders[l.rnd.IntN(len(l.holders))]
	if len(p.orders) == 0 {
		return nil, ""
	}
	if l.chance(0.5) {
		return p, p.orders[len(p.orders)-1]
	}
	return p, p.orders[l.rnd.IntN(len(p.orders))]
}

// openOrder picks an order that has not ended as far as its person knows, or any.
func (l *line) openOrder() (*person, string) {
	for _, p := range l.holders {
		for _, id := range p.orders {
			if _, told := l.w.ledger.isTold(id); !final(told) && l.chance(0.5) {
				return p, id
			}
		}
	}
	return l.anyOrder()
}

// order asks for unbinds at some platforms, as a client that does not give up.
func (l *line) order() {
	p := l.holder()
	r := unbind.Request{
		Subject: p.subject, Number: p.number, NumberIndex: phone.IndexOf(l.w.keys, p.number), HolderSince: p.since,
		LookupID: seal.NewID(time.Now()), RequestID: seal.NewID(time.Now()),
	}
	var wishes []*wish
	for _, i := range l.rnd.Perm(len(l.w.peers))[:1+l.rnd.IntN(min(3, len(l.w.peers)))] {
		at := l.w.peers[i]
		f, again := l.stale[at]
		if !again || l.chance(0.6) {
			f.old, f.own = at.lookup(p.number.E164(), p.since)
			l.stale[at] = f
		}
		r.Asked = append(r.Asked, asked(at.id, p.since, f))
		wishes = append(wishes, l.w.ledger.wished(p, string(at.id), f.old))
	}
	placed, ok := l.request(p, r, wishes)
	if !ok {
		return
	}
	if l.chance(0.2) {
		l.repeat(p, r, placed)
	}
	if l.chance(0.2) && len(p.orders) > 0 {
		l.wait(time.Duration(l.rnd.IntN(3)) * 20 * time.Millisecond)
		l.cancel(p, p.orders[len(p.orders)-1])
	}
}

func asked(id platform.ID, since time.Time, f found) unbind.Asked {
	a := unbind.Asked{Platform: id, Joined: true, Answered: true, Unbindable: true, HolderSince: since}
	for _, ref := range f.old {
		a.Accounts = append(a.Accounts, platform.Account{Ref: ref, Period: platform.BeforeHolder})
	}
	for _, ref := range f.own {
		a.Accounts = append(a.Accounts, platform.Account{Ref: ref, Period: platform.SinceHolder})
	}
	return a
}

// request sends the request until it is answered, at times twice at once.
func (l *line) request(p *person, r unbind.Request, wishes []*wish) ([]unbind.Placed, bool) {
	for try := range 6 {
		if try > 0 && !l.wait(20*time.Minute) {
			return nil, false
		}
		l.w.ledger.asks(wishes)
		twin := make(chan []unbind.Placed, 1)
		if l.chance(0.3) {
			l.w.all.Go(func() {
				placed, _ := l.ask(r)
				twin <- placed
			})
		} else {
			twin <- nil
		}
		placed, err := l.ask(r)
		other := <-twin
		switch {
		case err == nil:
			l.note(p, wishes, placed)
			if other != nil {
				l.w.ledger.same(placed, other)
			}
			return placed, true
		case errors.Is(err, fault.DailyLimit):
			return nil, false
		case !errors.Is(err, errGone) && !errors.Is(err, fault.StoreFailed):
			l.w.ledger.wrong("a request is answered", "%v", err)
			return nil, false
		}
		for _, w := range wishes {
			l.w.ledger.unheard(w)
		}
	}
	return nil, false
}

func (l *line) ask(r unbind.Request) (placed []unbind.Placed, err error) {
	err = l.w.call(func(ctx context.Context, h *run) error {
		var err error
		placed, err = h.service.Request(ctx, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return placed, nil
}

// note notes what became of each wish.
func (l *line) note(p *person, wishes []*wish, placed []unbind.Placed) {
	for i, x := range placed {
		w := wishes[i]
		switch {
		case x.Reason == "" && len(w.refs) > 0:
			l.w.ledger.answered(w, x.Order.ID, x.Order.State.String())
			p.orders = append(p.orders, x.Order.ID)
		case x.Reason == fault.DailyLimit && len(w.refs) > 0:
		case x.Reason == fault.NothingToUnbind && len(w.refs) == 0:
		default:
			l.w.ledger.wrong("a wish is an order, or there is a reason", "%q for %v at %s", x.Reason, w.refs, w.platform)
		}
	}
}

// repeat sends a request again that was answered, and another under its id.
func (l *line) repeat(p *person, r unbind.Request, placed []unbind.Placed) {
	if !l.wait(hour) {
		return
	}
	if again, err := l.ask(r); err == nil {
		l.w.ledger.same(placed, again)
	}
	r.LookupID = "another"
	if _, err := l.ask(r); err == nil || !errors.Is(err, fault.RequestIDReused) && !errors.Is(err, errGone) && !errors.Is(err, fault.StoreFailed) {
		l.w.ledger.wrong("a request id names one request", "%s asked for something else and got %v", p.name, err)
	}
}

// cancel takes an order back.
func (l *line) cancel(p *person, id string) {
	if p == nil {
		return
	}
	var o unbind.Order
	err := l.w.call(func(ctx context.Context, h *run) error {
		var err error
		o, err = h.service.Cancel(ctx, p.subject, id)
		return err
	})
	switch {
	case err == nil:
		l.w.ledger.told(o)
	case errors.Is(err, fault.UnbindNotFound):
		l.w.ledger.lost(id)
	}
}

// appeal appeals against a refusal; only who holds the number may.
func (l *line) appeal() {
	p := l.holder()
	for _, id := range p.orders {
		at, told := l.w.ledger.isTold(id)
		if told != "REFUSED" || !l.chance(0.7) {
			continue
		}
		l.w.ledger.reviving(at, id, "appeal")
		var o unbind.Order
		err := l.w.call(func(ctx context.Context, h *run) error {
			var err error
			o, err = h.appeal(ctx, p.subject, id)
			return err
		})
		if err == nil {
			l.w.ledger.told(o)
		}
	}
}

// isTold is an order's platform and the state that its person was told last.
func (g *ledger) isTold(id string) (platform, state string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lives[id].platform, g.lives[id].told
}

// look asks for an order, and waits for its next change.
func (l *line) look(wait time.Duration) {
	p, id := l.anyOrder()
	if p == nil {
		return
	}
	var o unbind.Order
	began := time.Now()
	err := l.w.call(func(ctx context.Context, h *run) error {
		var err error
		o, err = h.service.Wait(ctx, p.subject, id, wait)
		return err
	})
	switch {
	case err == nil:
		l.w.ledger.told(o)
		if took := time.Since(began); took > wait {
			l.w.ledger.wrong("a wait ends", "%v instead of %v", took, wait)
		}
	case errors.Is(err, fault.UnbindNotFound):
		l.w.ledger.lost(id)
	}
}

// same: a repeat of a request is answered with the same orders.
func (g *ledger) same(a, b []unbind.Placed) {
	for i := range a {
		if i >= len(b) || a[i].Order.ID != b[i].Order.ID || a[i].Reason != b[i].Reason {
			g.wrong("a repeated request gets the same orders", "%v and then %v", a[i], b)
			return
		}
	}
}

func (g *ledger) wrong(rule, format string, args ...any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.breach(rule, nil, format, args...)
}

// lost notes that an acknowledged order was not found.
func (g *ledger) lost(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.breach("an acknowledged order is found", g.lives[id], "not found")
}
