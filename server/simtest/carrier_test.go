package simtest

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	carrierv1 "github.com/tongcha/tongcha/gen/go/tongcha/carrier/v1"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
)

// carrier knows who holds which number. It is down at times, answers late and
// without data at others, but never says what is wrong.
type carrier struct {
	carrierv1.UnimplementedCarrierServiceServer
	w    *world
	down troubles

	mu      sync.Mutex
	changes map[string]time.Time // the last change of hands, by number
}

func (w *world) newCarrier() *carrier {
	rnd := w.rand("carrier")
	return &carrier{
		w: w, changes: make(map[string]time.Time),
		down: w.troubles(rnd, 6*24*time.Hour, time.Hour, 40*time.Hour),
	}
}

// changeHands gives the number to somebody else now.
func (c *carrier) changeHands(number string) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes[number] = time.Now()
	return c.changes[number]
}

// CheckHolder implements carrier.v1.
func (c *carrier) CheckHolder(ctx context.Context, r *carrierv1.CheckHolderRequest) (*carrierv1.CheckHolderResponse, error) {
	since := r.GetSince().AsTime()
	change, code := c.answer(ctx, r.GetPhoneNumber(), since)
	c.w.ledger.checked(r.GetPhoneNumber(), since, change)
	if code != codes.OK {
		return nil, status.Error(code, "not now")
	}
	out := carrierv1.HolderChange_HOLDER_CHANGE_NO_DATA
	switch change {
	case "NONE":
		out = carrierv1.HolderChange_HOLDER_CHANGE_UNCHANGED
	case "HANDS":
		out = carrierv1.HolderChange_HOLDER_CHANGE_CHANGED
	}
	return &carrierv1.CheckHolderResponse{Change: out}, nil
}

// answer is "NONE" or "HANDS", or "" where there is no answer that counts.
func (c *carrier) answer(ctx context.Context, number string, since time.Time) (string, codes.Code) {
	rnd := c.w.randNow("carrier " + number)
	late, lack, odd := rnd.Float64() < 0.05, rnd.Float64() < 0.05, codes.Code(1+rnd.IntN(16))
	wait := time.Duration(rnd.Int64N(int64(4 * time.Second)))
	if c.w.isWell() {
		late, lack = false, false
	}
	if late && !nap(ctx, wait) {
		return "", codes.DeadlineExceeded
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.down.now():
		return "", odd
	case lack:
		return "", codes.OK
	case c.changes[number].After(since):
		return "HANDS", codes.OK
	}
	return "NONE", codes.OK
}

// inProcess is the carrier without gRPC.
type inProcess struct{ *carrier }

// Attest implements platform.Carrier.
func (inProcess) Attest(context.Context, phone.Number, phone.IDSuffix) (platform.Attestation, time.Time, error) {
	return platform.AttestUnknown, time.Time{}, nil
}

// CheckHolder implements platform.Carrier.
func (c inProcess) CheckHolder(ctx context.Context, n phone.Number, since time.Time) (platform.HolderChange, time.Time, error) {
	change, code := c.answer(ctx, n.E164(), since)
	c.w.ledger.checked(n.E164(), since, change)
	switch {
	case code != codes.OK:
		return platform.ChangeNoData, time.Time{}, &platform.CallError{Code: "UNAVAILABLE"}
	case change == "NONE":
		return platform.ChangeNone, time.Time{}, nil
	case change == "HANDS":
		return platform.ChangeHands, time.Time{}, nil
	}
	return platform.ChangeNoData, time.Time{}, nil
}

// checked notes a carrier's answer.
func (g *ledger) checked(number string, since time.Time, change string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	k := holderKey(number, since)
	g.checks[k] = append(g.checks[k], check{at: g.now(), change: change})
}

func holderKey(number string, since time.Time) string {
	return number + since.UTC().Format(time.RFC3339Nano)
}

// troubles are times of trouble, in order.
type troubles []span

// troubles draws times of trouble from the world's beginning until it heals, about
// every gap and each of least to most.
func (w *world) troubles(rnd *rand.Rand, gap, least, most time.Duration) troubles {
	var list troubles
	if gap == 0 {
		return nil
	}
	at := w.begin.Add(time.Duration(rnd.ExpFloat64() * float64(gap)))
	for at.Before(w.heals) {
		end := at.Add(least + time.Duration(rnd.Float64()*float64(most-least)))
		if end.After(w.heals) {
			end = w.heals
		}
		list = append(list, span{from: at, to: end})
		at = end.Add(time.Duration(rnd.ExpFloat64() * float64(gap)))
	}
	return list
}

// now reports whether there is trouble now.
func (t troubles) now() bool {
	now := time.Now()
	for _, s := range t {
		if !now.Before(s.from) && now.Before(s.to) {
			return true
		}
	}
	return false
}

// nap sleeps for d; false when ctx ended first.
func nap(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
