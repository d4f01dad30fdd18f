package rpc_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

func (p *person) unbind(lookup, requestID string, platforms ...string) ([]*hubv1.NewUnbind, error) {
	resp, err := p.unbinds.CreateUnbinds(p.ctx, &hubv1.CreateUnbindsRequest{LookupId: lookup, PlatformIds: platforms, RequestId: requestID})
	return resp.GetUnbinds(), err
}

func (p *person) cancel(id string) (*hubv1.Unbind, error) {
	resp, err := p.unbinds.CancelUnbind(p.ctx, &hubv1.CancelUnbindRequest{UnbindId: id})
	return resp.GetUnbind(), err
}

func (p *person) list(size int32, token string) (*hubv1.ListUnbindsResponse, error) {
	return p.unbinds.ListUnbinds(p.ctx, &hubv1.ListUnbindsRequest{PageSize: size, PageToken: token})
}

func TestRefusedUnbinds(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := w.person()
		looked := p.look().GetLookupId()
		many := strings.Split(strings.Repeat("shop,", 10_000), ",")
		for what, c := range map[string]struct {
			lookup, requestID string
			ids               []string
			reason, field     string
		}{
			"no platform":     {looked, "r", nil, "PLATFORMS_INVALID", "platformIds"},
			"10,000":          {looked, "r", many, "PLATFORMS_INVALID", "platformIds"},
			"no request id":   {looked, "", []string{"shop"}, "REQUEST_ID_INVALID", "requestId"},
			"NUL in it":       {looked, "r\x00", []string{"shop"}, "REQUEST_ID_INVALID", "requestId"},
			"huge request id": {looked, strings.Repeat("r", 200_000), []string{"shop"}, "REQUEST_ID_INVALID", "requestId"},
			"unknown":         {looked, "r", []string{"shop", "nobody"}, "PLATFORM_UNKNOWN", "platformIds[1]"},
			"no valid form":   {looked, "r", []string{"a/b"}, "PLATFORM_UNKNOWN", "platformIds[0]"},
			"no lookup":       {"", "r", []string{"shop"}, "LOOKUP_NOT_FOUND", ""},
			"a guessed id":    {noID, "r", []string{"shop"}, "LOOKUP_NOT_FOUND", ""},
			"no id at all":    {"x\x00", "r", []string{"shop"}, "LOOKUP_NOT_FOUND", ""},
		} {
			_, err := p.unbind(c.lookup, c.requestID, c.ids...)
			w.wants(what, err, c.reason, c.field)
		}
		orders, err := p.unbind(looked, "r", "shop") // what was refused did not use the request id up
		if err != nil || orders[0].GetUnbindId() == "" {
			w.Errorf("%v %v", orders, err)
		}
	})
}

func TestUnbindNeedsConsent(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := w.verified(number, suffix, "LOOKUP")
		_, err := p.unbind(p.look().GetLookupId(), "r", "shop")
		if got := w.wants("LOOKUP alone", err, "CONSENT_REQUIRED", "consent.scopes"); got.code != codes.FailedPrecondition {
			w.Errorf("%v", got.code)
		}
	})
}

// reasons are what became of each order, by platform; "" where one was made.
func reasons(orders []*hubv1.NewUnbind) map[string]string {
	out := make(map[string]string)
	for _, u := range orders {
		out[u.GetPlatformId()] = u.GetError().GetReason()
		if made := u.UnbindId != nil && u.State != nil && u.DueTime != nil; made != (u.Error == nil) {
			out[u.GetPlatformId()] = "both or none of order and error"
		}
	}
	return out
}

func TestUnbindsOfEachPlatform(t *testing.T) {
	more := func(s *settings) { s.more = []platform.ID{"mine", "quiet", "paused", "late"} }
	inWorld(t, more, func(w *world) {
		w.peers["mine"].set(func(p *peer) { p.answer.Accounts = p.answer.Accounts[1:] })
		w.peers["quiet"].set(func(p *peer) { p.holding = true })
		w.peers["paused"].set(func(p *peer) { p.suspended = true })
		p := w.person()
		id := p.look().GetLookupId()
		p.finished(id)
		w.peers["late"].set(func(p *peer) { p.suspended = true }) // its order waits
		orders, err := p.unbind(id, "r", "shop", "bank", "mine", "quiet", "paused", "idle", "late", "shop")
		w.must(err)
		want := map[string]string{
			"shop": "", "late": "", "bank": "UNBIND_UNSUPPORTED", "mine": "NOTHING_TO_UNBIND", "quiet": "NOT_LOOKED_UP", "paused": "NOT_LOOKED_UP", "idle": "UNBIND_UNSUPPORTED",
		}
		if got := reasons(orders); fmt.Sprint(got) != fmt.Sprint(want) {
			w.Errorf("%v, want %v", got, want)
		}
		for _, u := range orders {
			if u.Error != nil && u.GetError().GetMessage() == "" {
				w.Errorf("%s says nothing", u.GetError().GetReason())
			}
		}
	})
}

func TestUnattestedHolder(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		inWorld(t, func(s *settings) { s.noCarrier, s.allowUnattested = true, allowed }, func(w *world) {
			want := "HOLDER_UNATTESTED"
			if allowed {
				want = ""
			}
			if got := reasons(w.person().order("r", "shop")); got["shop"] != want {
				w.Errorf("allowed %v: %v", allowed, got)
			}
		})
	}
}

func TestUnbindTwice(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := w.person()
		looked := p.look().GetLookupId()
		first, err := p.unbind(looked, "r", "shop")
		w.must(err)
		again, err := p.unbind(looked, "r", "shop", "shop")
		if err != nil || again[0].GetUnbindId() != first[0].GetUnbindId() {
			w.Errorf("the same request: %v %v", again, err)
		}
		other, err := p.unbind(looked, "r:2", "shop") // an open order stands for a new one
		if err != nil || other[0].GetUnbindId() != first[0].GetUnbindId() {
			w.Errorf("another request: %v %v", other, err)
		}
		_, err = p.unbind(looked, "r", "chat")
		if got := w.wants("another body", err, "REQUEST_ID_REUSED", "requestId"); got.code != codes.AlreadyExists {
			w.Errorf("%v", got.code)
		}
	})
}

func TestHolderChangedSinceTheCode(t *testing.T) {
	for what, change := range map[string]func(*carrier){
		"another holder": func(c *carrier) { c.suffix = "01000X" }, "the same suffix, later": func(c *carrier) { c.since = c.since.AddDate(0, 1, 0) },
	} {
		inWorld(t, nil, func(w *world) {
			p := w.person()
			looked := p.look().GetLookupId()
			w.carrier.say(change)
			_, err := p.unbind(looked, "r", "shop")
			if got := w.wants(what, err, "SESSION_INVALID", ""); got.code != codes.Unauthenticated {
				w.Errorf("%v", got.code)
			}
			_, err = p.create(nil, "")
			w.wants(what, err, "SESSION_INVALID", "")
		})
	}
}

func TestOrdersPerNumberAndDay(t *testing.T) {
	more := func(s *settings) {
		for i := range 21 {
			s.more = append(s.more, platform.ID(fmt.Sprintf("p%02d", i)))
		}
	}
	inWorld(t, more, func(w *world) {
		p := w.person()
		looked := p.look().GetLookupId()
		for i := range 19 {
			_, err := p.unbind(looked, fmt.Sprint("r", i), fmt.Sprintf("p%02d", i))
			w.must(err)
		}
		orders, err := p.unbind(looked, "r19", "p19", "p20")
		w.must(err)
		if got := reasons(orders); got["p19"] != "" || got["p20"] != "DAILY_LIMIT" {
			w.Errorf("the 20th and the 21st: %v", got)
		}
		_, err = p.unbind(looked, "r20", "shop")
		w.wants("the 21st", err, "DAILY_LIMIT", "")
		if _, err = p.unbind(looked, "r0", "p00"); err != nil {
			w.Errorf("a repeat on that day: %v", err)
		}
		w.checkPages(p)
	})
}

// checkPages reads the 20 orders in pages.
func (w *world) checkPages(p *person) {
	w.Helper()
	all, err := p.list(0, "")
	w.must(err)
	var got []string
	for token := ""; ; {
		page, err := p.list(7, token)
		w.must(err)
		for _, u := range page.GetUnbinds() {
			got = append(got, u.GetUnbindId())
		}
		if token = page.GetNextPageToken(); page.NextPageToken == nil {
			break
		}
	}
	if len(all.GetUnbinds()) != 20 || len(got) != 20 || all.NextPageToken != nil {
		w.Fatalf("%d orders, %d in pages", len(all.GetUnbinds()), len(got))
	}
	for i, u := range all.GetUnbinds() {
		if u.GetUnbindId() != got[i] {
			w.Errorf("row %d differs", i)
		}
	}
	if page, err := p.list(-5, ""); err != nil || len(page.GetUnbinds()) != 20 {
		w.Errorf("a negative size: %v", err)
	}
}

func forgedTokens() []string {
	enc := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	return []string{
		"x", "====", enc("1"), enc("1:"), enc("2:" + noID), enc("1:\x00\xff"), enc("1:" + noID + "\x00"), enc("1: a"), enc("1:A B") + "=", "\x00",
		"🙂", strings.Repeat("A", 100_000), enc("1:" + strings.Repeat("a", 1000)),
	}
}

func TestForgedPageTokens(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := w.person()
		for _, token := range forgedTokens() {
			_, err := p.list(0, token)
			w.wants("orders "+token, err, "PAGE_TOKEN_INVALID", "pageToken")
			_, err = hubv1.NewCatalogueServiceClient(w.gateway).ListPlatforms(w.Context(), &hubv1.ListPlatformsRequest{PageToken: token})
			w.wants("platforms "+token, err, "PAGE_TOKEN_INVALID", "pageToken")
		}
	})
}

func TestOrdersOfAnotherSubject(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := w.person()
		id := p.orderAt("shop")
		w.carrier.say(func(c *carrier) { c.suffix = "01000X" })
		w.pass(time.Minute)
		for what, other := range map[string]*person{"another number": w.verified(otherNumber, "01000X"), "the next holder": w.verified(number, "01000X")} {
			_, err := other.unbinds.GetUnbind(other.ctx, &hubv1.GetUnbindRequest{UnbindId: id})
			w.wants(what, err, "UNBIND_NOT_FOUND", "")
			_, err = other.cancel(id)
			w.wants(what, err, "UNBIND_NOT_FOUND", "")
			if list, err := other.list(0, ""); err != nil || len(list.GetUnbinds()) != 0 {
				w.Errorf("%s: %v %v", what, list, err)
			}
			forged := base64.RawURLEncoding.EncodeToString([]byte("1:" + id))
			if list, err := other.list(0, forged); err != nil || len(list.GetUnbinds()) != 0 {
				w.Errorf("%s, with a token of the order: %v %v", what, list, err)
			}
		}
		for _, bad := range append(badIDs(), noID) {
			_, err := p.unbinds.GetUnbind(p.ctx, &hubv1.GetUnbindRequest{UnbindId: bad})
			w.wants("id "+bad, err, "UNBIND_NOT_FOUND", "")
			_, err = p.cancel(bad)
			w.wants("id "+bad, err, "UNBIND_NOT_FOUND", "")
		}
		if o := p.get(id); o.GetState() != hubv1.UnbindState_UNBIND_STATE_QUEUED {
			w.Errorf("the order is %v", o.GetState())
		}
	})
}

func TestCancel(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := w.person()
		id, sent := p.orderAt("shop"), p.orderAt("chat")
		o, err := p.cancel(id)
		if err != nil || o.GetState() != hubv1.UnbindState_UNBIND_STATE_CANCELLED || o.GetHistory()[1].GetReason() != "BY_PERSON" {
			w.Errorf("%v %v", o, err)
		}
		_, err = p.cancel(id)
		w.wants("twice", err, "ALREADY_TERMINAL", "")
		claims, _, err := w.store.Claim(context.Background(), unbind.ClaimRequest{Now: time.Now(), Lease: time.Minute, Max: 9, Free: func(platform.ID) int { return 9 }})
		if err != nil || len(claims) != 1 {
			w.Fatalf("%v %v", claims, err)
		}
		_, err = p.cancel(sent)
		w.wants("while it is sent", err, "ALREADY_SENT", "")
		if o := p.get(sent); o.GetState() != hubv1.UnbindState_UNBIND_STATE_SENDING {
			w.Errorf("%v", o.GetState())
		}
	})
}

// TestCancelAfterALostLease: an attempt that outlives its lease, as on a machine
// that was asleep, may have had its effect, though the disk knows of none.
func TestCancelAfterALostLease(t *testing.T) {
	withOrder(t, func(w *world, p *person, _ member, id string) {
		c := w.claim()
		w.pass(2 * time.Minute)
		_, err := p.cancel(id)
		w.wants("after the lease", err, "ALREADY_SENT", "")
		w.store.Release(w.Context(), []unbind.Claim{c}) // it was not sent after all
		if _, err := p.cancel(id); err != nil {
			w.Error(err)
		}
	})
}

func TestSessions(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := w.person()
		flipped := wrong(p.token)
		for what, token := range map[string]string{
			"none": "", "cut": p.token[:42], "flipped": flipped, "longer": p.token + "A", "padded": p.token + "=", "not base64": strings.Repeat("*", 43), "huge": strings.Repeat("A", 4000),
		} {
			_, err := w.bearer(token).list(0, "")
			if got := w.wants(what, err, "SESSION_INVALID", ""); got.code != codes.Unauthenticated {
				w.Errorf("%s: %v", what, got.code)
			}
		}
		for range 4 { // in use it lasts for 15 minutes
			if _, err := p.list(0, ""); err != nil {
				w.Fatal(err)
			}
			w.pass(3*time.Minute + 44*time.Second)
		}
		w.pass(5 * time.Second)
		_, err := p.list(0, "")
		w.wants("after 15 minutes", err, "SESSION_INVALID", "")
		idle := w.person()
		w.pass(5*time.Minute + time.Second)
		_, err = idle.list(0, "")
		w.wants("idle for 5 minutes", err, "SESSION_INVALID", "")
	})
}
