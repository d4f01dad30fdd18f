package bolt_test

import (
	"context"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

// aClaim picks a claim, seldom one that is over.
func (m *model) aClaim() (c unbind.Claim, k *kept, good bool) {
	if len(m.claims) == 0 {
		return c, nil, false
	}
	i := len(m.claims) - 1 - m.rand.IntN(min(len(m.claims), 8))
	c = m.claims[i]
	k = m.orders[c.Order.ID]
	return c, k, k != nil && k.token == c.Token && k.live(m.now)
}

func (m *model) word(stage platform.Stage) platform.Report {
	r := platform.Report{Stage: stage, Time: m.now.Add(-time.Duration(m.rand.IntN(100)) * time.Second)}
	switch stage {
	case platform.StageActionRequired:
		r.ActionURL = "https://shop.example/go"
	case platform.StageRefused:
		r.RefusalReason, r.RefusalText = "HAS_DEBT", "先还款"
	}
	return r
}

func (m *model) stage() platform.Stage {
	return []platform.Stage{platform.StageCompleted, platform.StageRefused, platform.StageRefused, platform.StageInReview, platform.StageActionRequired}[m.rand.IntN(5)]
}

func (m *model) outcome(c unbind.Claim) unbind.Transition {
	a := unbind.Attempt{Began: m.now.Add(-time.Duration(m.rand.IntN(20)) * time.Second), Ended: m.now, Polled: m.rand.IntN(4) == 0, Appeal: c.Order.Appeals}
	later := m.now.Add(time.Duration(m.rand.IntN(100)) * time.Minute)
	switch m.rand.IntN(12) {
	case 0, 1, 2:
		return unbind.Abandon(a, "TOO_OLD")
	case 3, 4:
		return unbind.Retry(a, "UNAVAILABLE", later)
	case 5:
		return unbind.Snooze(a, "SNOOZE", later)
	case 6:
		return unbind.HolderUnknown(m.now, later)
	case 7:
		return unbind.HolderChanged(m.now)
	case 8:
		return unbind.Disowned(a)
	}
	return unbind.Answered(a, m.word(m.stage()), later)
}

func (m *model) finish() {
	c, k, good := m.aClaim()
	if c.Token == 0 {
		return
	}
	t := m.outcome(c)
	o, err := m.s.Finish(m.Context(), c, t)
	if !good {
		m.want("finish of a lost lease", err, fault.LeaseLost)
		return
	}
	m.want("finish", err, "")
	m.apply(k, t)
	m.same("finished", o, k.Order)
	k.token, k.doubt = 0, k.doubt && !k.Sent && !k.State.Final()
}

func (m *model) extend() {
	c, k, good := m.aClaim()
	if c.Token == 0 {
		return
	}
	until := m.now.Add(2 * time.Minute)
	_, err := m.s.Extend(m.Context(), c, until)
	if !good {
		m.want("extend", err, fault.LeaseLost)
		return
	}
	m.want("extend", err, "")
	k.until = until
}

func (m *model) release() {
	c, k, _ := m.aClaim()
	if c.Token == 0 {
		return
	}
	m.s.Release(m.Context(), []unbind.Claim{c})
	if k != nil && k.token == c.Token {
		k.token = 0
	}
}

func (m *model) report() {
	k := m.any()
	at := k.Platform
	want := fault.Reason("")
	if m.rand.IntN(10) == 0 {
		at = "other"
	}
	if at == "other" || k.ID == "none" {
		want = fault.UnbindNotFound
	}
	t := unbind.Reported(m.now, m.word(m.stage()), m.now.Add(time.Hour))
	o, changed, err := m.s.Report(m.Context(), at, k.ID, t)
	m.want("report", err, want)
	if want == "" {
		m.same("changed", changed, m.apply(k, t))
		m.same("reported", o, m.shown(k))
	}
}

func (m *model) cancel() {
	k := m.any()
	subject, want := k.Subject, fault.Reason("")
	switch {
	case k.ID == "none":
		want = fault.UnbindNotFound
	case m.rand.IntN(10) == 0:
		subject[0]++
		want = fault.UnbindNotFound
	case k.State.Final():
		want = fault.AlreadyTerminal
	case k.State != unbind.Queued || k.Sent || k.Run != m.run || k.token != 0 || k.doubt:
		want = fault.AlreadySent
	}
	t := unbind.CancelledByPerson(m.now)
	o, err := m.s.Cancel(m.Context(), subject, k.ID, t)
	m.want("cancel", err, want)
	if want == "" {
		m.apply(k, t)
		m.same("cancelled", o, k.Order)
	}
}

func (m *model) appeal() {
	k := m.any()
	var want error
	switch {
	case k.ID == "none":
		want = fault.UnbindNotFound.New()
	case k.State != unbind.Appealed:
		want = k.MayAppeal(m.now)
	}
	t := unbind.AppealedByPerson(m.now, m.now.Add(120*time.Hour), 0)
	o, err := m.s.Appeal(m.Context(), k.Subject, k.ID, t)
	if want != nil {
		m.want("appeal", err, fault.Of(want).Reason)
		return
	}
	m.want("appeal", err, "")
	m.apply(k, t)
	m.same("appealed", o, m.shown(k))
}

func (m *model) replay()  { m.decide(m.s.Replay, unbind.Replayed(m.now)) }
func (m *model) discard() { m.decide(m.s.Discard, unbind.Discarded(m.now, "why")) }

func (m *model) decide(do func(context.Context, string, unbind.Transition) (unbind.Order, error), t unbind.Transition) {
	k := m.any()
	want := fault.Reason("")
	switch {
	case k.ID == "none":
		want = fault.UnbindNotFound
	case k.State != unbind.Abandoned || k.Discarded:
		want = fault.NotAbandoned
	}
	o, err := do(m.Context(), k.ID, t)
	m.want("decide", err, want)
	if want == "" {
		m.apply(k, t)
		m.same("decided", o, k.Order)
	}
}
