package verify_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/verify"
)

func TestSessionEnds(t *testing.T) {
	atDesk(t, nil, func(d *desk) {
		id, code := d.ask("01123X")
		idle, begin := d.confirm(id, code), time.Now()
		for range 3 {
			time.Sleep(270 * time.Second)
			_, err := d.service.Session(d.Context(), idle.Token)
			d.check(err)
		}
		time.Sleep(15*time.Minute - time.Since(begin) - 1)
		_, err := d.service.Session(d.Context(), idle.Token)
		d.check(err)
		time.Sleep(time.Nanosecond)
		d.ended(idle.Token) // 15 min at most, however busy

		id, code = d.ask("01123X")
		idle = d.confirm(id, code)
		time.Sleep(5*time.Minute + 1)
		d.ended(idle.Token)
	})
}

func (d *desk) ended(t verify.Token) {
	d.Helper()
	if _, err := d.service.Session(d.Context(), t); !errors.Is(err, fault.SessionInvalid) {
		d.Errorf("session: %v, want %s", err, fault.SessionInvalid)
	}
}

func TestBadTokens(t *testing.T) {
	atDesk(t, nil, func(d *desk) {
		id, code := d.ask("01123X")
		good := d.confirm(id, code).Token.Reveal()
		flipped := []byte(good)
		flipped[5] ^= 1
		for _, bad := range []string{"", "x", good[:len(good)-1], good + "A", good + "=", string(flipped), " " + good, verify.NewToken().Reveal()} {
			d.ended(verify.ParseToken(bad))
		}
		_, err := d.service.Session(d.Context(), verify.ParseToken(good))
		d.check(err)
	})
}

func TestStillHolder(t *testing.T) {
	c := &carrier{since: since}
	atDesk(t, c, func(d *desk) {
		id, code := d.ask("01123X")
		s := d.confirm(id, code).Session
		d.check(d.service.StillHolder(d.Context(), s))
		c.err = errors.New("down")
		d.check(d.service.StillHolder(d.Context(), s))
		c.err, c.unknown = nil, true
		d.check(d.service.StillHolder(d.Context(), s))
		c.unknown, c.since = false, since.Add(time.Hour) // re-issued to the same person's suffix
		if err := d.service.StillHolder(d.Context(), s); !errors.Is(err, fault.SessionInvalid) {
			d.Errorf("another date: %v", err)
		}
		s.Suffix = d.request("13800130001", "311114").Suffix
		if err := d.service.StillHolder(d.Context(), s); !errors.Is(err, fault.SessionInvalid) {
			d.Errorf("another holder: %v", err)
		}
	})
}
