package verify_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tongcha/tongcha/server/clock"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/verify"
)

// away is how far the machine's clock is from the bubble's time to begin with:
// whoever looks at the wrong clock is years off.
const away = 5 * year

const year = 365 * 24 * time.Hour

// clocked is a desk whose machine's clock can be set, and which can start again.
type clocked struct {
	*desk
	path string
	keys *seal.Keys
	set  time.Duration
}

func withClock(t *testing.T, story func(*clocked)) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		d := &clocked{desk: &desk{T: t}, path: filepath.Join(dir, "hub.db")}
		d.check(seal.Create(filepath.Join(dir, "keys.json")))
		var err error
		d.keys, err = seal.Load(filepath.Join(dir, "keys.json"))
		d.check(err)
		d.check(d.open())
		story(d)
		d.check(d.store.Close())
	})
}

func (d *clocked) open() error {
	c := clock.New(clock.Options{Wall: func() time.Time { return time.Now().Add(away + d.set) }})
	store, err := bolt.Open(d.path, d.keys, bolt.WithClock(c))
	if err != nil {
		return err
	}
	d.store = store
	d.service = verify.New(verify.Options{
		Store: d.store, Sender: d.desk, MAC: d.keys, Limits: verify.DefaultLimits(), Logger: slog.New(slog.DiscardHandler), Now: c.Now,
	})
	return nil
}

// restart starts again with the machine's clock set.
func (d *clocked) restart(set time.Duration) error {
	d.Helper()
	d.check(d.store.Close())
	d.set = set
	return d.open()
}

// sweep forgets what is over by the hub's clock, as a running hub does.
func (d *clocked) sweep() {
	d.Helper()
	_, err := d.store.Sweep(d.Context(), d.hubTime(), 500)
	d.check(err)
}

// hubTime is when a code that is sent now was made.
func (d *clocked) hubTime() time.Time { return time.Now().Add(away) }

// lived is a story that a step comes into: everything ends when it would have.
func (d *clocked) lived(step func()) {
	d.Helper()
	begin := time.Now()
	used, usedCode := d.ask("01123X")
	session := d.confirm(used, usedCode)
	second, code2 := d.ask2()
	for range 5 {
		d.tryWrong(second, code2)
	}
	time.Sleep(time.Minute)
	open, code := d.ask("01123X")
	step()
	d.sweep()
	d.fails(used, usedCode, "5") // a used code stays used
	d.refused(d.request("13800130001", "01123X"), fault.CodeResendTooSoon, time.Minute)
	d.refused(d.request("13800130002", "022345"), fault.CodeResendTooSoon, 4*time.Minute) // five tries stay five
	time.Sleep(4 * time.Minute)
	d.sweep()
	s, err := d.service.Session(d.Context(), session.Token) // 5 minutes later, not a moment more
	d.check(err)
	if left := s.ExpireTime.Sub(d.hubTime()); left != 10*time.Minute {
		d.Errorf("the session has %v left", left)
	}
	time.Sleep(time.Minute - 1)
	idle := d.confirm(open, code) // to its last moment
	time.Sleep(time.Minute)
	d.fails(open, code, "5")
	d.sweep()
	d.touch(session)
	time.Sleep(4*time.Minute - 1)
	d.touch(session)
	time.Sleep(2 * time.Nanosecond)
	d.over(idle)
	time.Sleep(15*time.Minute - time.Since(begin))
	d.over(session)
}

func (d *clocked) touch(o verify.Opened) {
	d.Helper()
	if _, err := d.service.Session(d.Context(), o.Token); err != nil {
		d.Errorf("a session before its end: %v", err)
	}
}

func (d *clocked) over(o verify.Opened) {
	d.Helper()
	if _, err := d.service.Session(d.Context(), o.Token); !errors.Is(err, fault.SessionInvalid) {
		d.Errorf("a session after its end: %v", err)
	}
}

func (d *clocked) tryWrong(id string, c verify.Code) {
	d.Helper()
	if _, err := d.service.Confirm(d.Context(), id, d.other(c)); !errors.Is(err, fault.VerificationFailed) {
		d.Fatalf("a wrong code: %v", err)
	}
}

// TestClockSteps: while the hub runs nothing ends early, comes back or is allowed
// again, wherever the machine's clock is set, nor when it is set right again.
func TestClockSteps(t *testing.T) {
	for _, step := range []time.Duration{0, time.Hour, -time.Hour, year, -year} {
		withClock(t, func(d *clocked) { d.lived(func() { d.set = step }) })
	}
}

// TestClockBackOverAStart: nor over a start of the hub, where the clock was set
// back.
func TestClockBackOverAStart(t *testing.T) {
	for _, step := range []time.Duration{-time.Hour, -year} {
		withClock(t, func(d *clocked) { d.lived(func() { d.check(d.restart(step)) }) })
	}
}

// TestClockFarAheadOverAStart: a clock that can't be right starts no hub, and
// leaves no trace: once it is right all is as before.
func TestClockFarAheadOverAStart(t *testing.T) {
	withClock(t, func(d *clocked) {
		d.lived(func() {
			var ahead *clock.AheadError
			if err := d.restart(year); !errors.As(err, &ahead) {
				d.Fatalf("a start a year ahead: %v", err)
			}
			d.set = 0
			d.check(d.open())
		})
	})
}

// TestClockAheadOverAStart: an hour ahead looks like an hour off. Codes and
// sessions end with it, and do not come back when the clock is set right.
func TestClockAheadOverAStart(t *testing.T) {
	withClock(t, func(d *clocked) {
		id, code := d.ask("01123X")
		other, code2 := d.ask2()
		session := d.confirm(id, code)
		d.check(d.restart(time.Hour))
		for range 2 {
			d.over(session)
			d.fails(other, code2, "5")
			d.fails(id, code, "5")
			d.check(d.restart(0))
		}
	})
}

// TestDailyLimitOverSteps: ten codes a day are ten, whatever day the machine has.
func TestDailyLimitOverSteps(t *testing.T) {
	withClock(t, func(d *clocked) {
		begin := time.Now()
		steps := []time.Duration{time.Hour, -time.Hour, year, -year}
		for i := range 10 {
			d.set = steps[i%len(steps)]
			d.ask("01123X")
			time.Sleep(5 * time.Minute)
			d.sweep()
		}
		for _, set := range steps {
			d.set = set
			d.refused(d.request("13800130001", "01123X"), fault.DailyLimit, 24*time.Hour-time.Since(begin))
		}
		d.check(d.restart(-year))
		d.refused(d.request("13800130001", "01123X"), fault.DailyLimit, 24*time.Hour-time.Since(begin))
		time.Sleep(24*time.Hour - time.Since(begin))
		d.ask("01123X")
	})
}

// TestClockBackAfterACrash: a hub that was killed and whose machine's clock went
// back goes on no earlier than the newest code: what it left behind is not from
// the future.
func TestClockBackAfterACrash(t *testing.T) {
	withClock(t, func(d *clocked) {
		time.Sleep(time.Hour)
		id, code := d.ask("01123X")
		d.crash(-year)
		time.Sleep(300*time.Second - 1)
		d.tryWrong(id, code)
		time.Sleep(time.Nanosecond)
		d.fails(id, code, "4")
	})
}

// crash starts again from what is on disk, with the machine's clock set.
func (d *clocked) crash(set time.Duration) {
	d.Helper()
	from := d.path
	d.path = filepath.Join(d.TempDir(), "hub.db")
	d.check(copyFile(from, d.path))
	d.check(d.store.Close())
	d.set = set
	d.check(d.open())
}

// copyFile copies a database that is open: nothing writes to it now.
func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}
