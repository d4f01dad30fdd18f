package rpc_test

import (
	"encoding/json"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	oversightv1 "github.com/tongcha/tongcha/gen/go/tongcha/oversight/v1"
	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

func (w *world) figures() oversightv1.CoverageServiceClient {
	return oversightv1.NewCoverageServiceClient(w.gateway)
}

func day(ago int) string { return (coverage.DayOf(time.Now()) - coverage.Day(ago)).String() }

// fields is a message as REST clients read it.
func (w *world) fields(m proto.Message) map[string]any {
	w.Helper()
	body, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	w.must(err)
	var out map[string]any
	w.must(json.Unmarshal(body, &out))
	return out
}

func (w *world) ask(id platform.ID, answers ...platform.Answer) {
	for _, a := range answers {
		w.counter.Observe(id, a)
	}
}

// TestNoDataIsAbsent: where nothing was asked, obliged or due there is no figure,
// neither 0 nor anything else.
func TestNoDataIsAbsent(t *testing.T) {
	inWorld(t, open, func(w *world) {
		c, err := w.figures().GetCoverage(w.Context(), &oversightv1.GetCoverageRequest{})
		w.must(err)
		p, err := w.figures().ListPlatformCoverage(w.Context(), &oversightv1.ListPlatformCoverageRequest{GroupBy: "DAY"})
		w.must(err)
		u, err := w.figures().GetUnbindCoverage(w.Context(), &oversightv1.GetUnbindCoverageRequest{})
		w.must(err)
		all := w.fields(c.GetCoverage())
		rows := []map[string]any{all, all["shares"].(map[string]any), all["platforms"].([]any)[0].(map[string]any), w.fields(p.GetDays()[0].GetLookups()), w.fields(u.GetUnbinds().GetTotal())}
		for i, row := range rows {
			for _, name := range []string{
				"answerRate", "lateRate", "silentRate", "medianAnswerMillis", "p95AnswerMillis", "joinedCoverage", "weightedCoverage", "effectiveCoverage",
				"weight", "obligedSince", "onTimeRate", "fromDate",
			} {
				if v, there := row[name]; there {
					t.Errorf("%d: %s is %v", i, name, v)
				}
			}
			for _, name := range []string{"responseTimes", "endTimes"} {
				if v, there := row[name]; there && len(v.([]any)) != 0 {
					t.Errorf("%d: %s is %v", i, name, v)
				}
			}
			for _, name := range []string{"asked", "silent", "late", "obliged", "taken"} { // a count is never absent
				if v, there := row[name]; there && v != 0.0 {
					t.Errorf("%d: %s is %v", i, name, v)
				}
			}
		}
	})
}

// TestTimedOutIsNotNoData: a percentile among the questions without an answer says
// so.
func TestTimedOutIsNotNoData(t *testing.T) {
	inWorld(t, open, func(w *world) {
		w.ask("shop", platform.Answer{State: platform.Bound, Took: time.Millisecond}, platform.Answer{State: platform.Silent})
		c, err := w.figures().GetCoverage(w.Context(), &oversightv1.GetCoverageRequest{})
		w.must(err)
		var shop *oversightv1.PlatformCoverage
		for _, p := range c.GetCoverage().GetPlatforms() {
			if p.GetPlatformId() == "shop" {
				shop = p
			}
		}
		times := shop.GetResponseTimes()
		if len(times) != 4 || times[0].GetPercent() != 50 || times[0].GetWithinMillis() != 1 || times[0].GetTimedOut() ||
			times[2].GetPercent() != 95 || times[2].WithinMillis != nil || !times[2].GetTimedOut() {
			t.Errorf("%v", times)
		}
		if shop.GetAnswerRate() != 0.5 || shop.GetSilentRate() != 0.5 || shop.GetP95AnswerMillis() != 1 || shop.LateRate == nil {
			t.Errorf("%v", shop)
		}
		w.counter.ObserveLate("shop", platform.Answer{State: platform.Bound})
		if c, err = w.figures().GetCoverage(w.Context(), &oversightv1.GetCoverageRequest{FromDate: day(0)}); err != nil || c.GetCoverage().GetLate() != 1 || c.GetCoverage().GetLateRate() != 0.5 || c.GetCoverage().GetFromDate() != day(0) || c.GetCoverage().GetToDate() != day(0) {
			t.Errorf("%v %v", c, err)
		}
	})
}

func TestCoverageByPlatformCategoryAndDay(t *testing.T) {
	inWorld(t, open, func(w *world) {
		yes, no := platform.Answer{State: platform.NotBound, Took: time.Millisecond}, platform.Answer{State: platform.Silent}
		w.ask("shop", yes, yes, no)
		w.must(w.counter.Flush(w.Context(), w.store))
		time.Sleep(24 * time.Hour)
		w.ask("shop", yes)
		w.ask("bank", no)
		list := func(r *oversightv1.ListPlatformCoverageRequest) *oversightv1.ListPlatformCoverageResponse {
			t.Helper()
			resp, err := w.figures().ListPlatformCoverage(w.Context(), r)
			w.must(err)
			return resp
		}
		whole := list(&oversightv1.ListPlatformCoverageRequest{})
		if len(whole.GetPlatforms()) != 4 || whole.GetFromDate() != day(1) || whole.GetToDate() != day(0) || whole.NextPageToken != nil {
			t.Errorf("%v", whole)
		}
		var paged []*oversightv1.PlatformCoverage
		for token := ""; ; {
			page := list(&oversightv1.ListPlatformCoverageRequest{PageSize: 3, PageToken: token})
			paged = append(paged, page.GetPlatforms()...)
			if token = page.GetNextPageToken(); token == "" {
				break
			}
		}
		if len(paged) != 4 || !proto.Equal(paged[3], whole.GetPlatforms()[3]) || paged[3].GetPlatformId() != "shop" || paged[3].GetAsked() != 4 || paged[3].GetAnswerRate() != 0.75 {
			t.Errorf("%v", paged)
		}
		days := list(&oversightv1.ListPlatformCoverageRequest{GroupBy: "DAY"}).GetDays()
		if len(days) != 2 || days[0].GetDate() != day(1) || days[0].GetLookups().GetAsked() != 3 || days[1].GetLookups().GetAsked() != 2 || days[1].GetLookups().GetAnswerRate() != 0.5 {
			t.Errorf("%v", days)
		}
		if one := list(&oversightv1.ListPlatformCoverageRequest{GroupBy: "DAY", PlatformId: "shop", FromDate: day(0)}).GetDays(); len(one) != 1 || one[0].GetLookups().GetAsked() != 1 {
			t.Errorf("%v", one)
		}
		categories := list(&oversightv1.ListPlatformCoverageRequest{GroupBy: "CATEGORY", Category: "网上购物"}).GetCategories()
		if len(categories) != 1 || categories[0].GetCategory() != "网上购物" || categories[0].GetCatalogued() < 1 {
			t.Errorf("%v", categories)
		}
	})
}

// TestUnbindsAndRefusals follows one order that is refused in time and one that
// nobody answers until it is overdue.
func TestUnbindsAndRefusals(t *testing.T) {
	inWorld(t, open, func(w *world) {
		p := w.person()
		orders, err := p.unbind(p.look().GetLookupId(), "r", "shop", "chat")
		w.must(err)
		w.pass(2 * time.Hour)
		now := time.Now()
		_, _, err = w.store.Report(w.Context(), "shop", orders[0].GetUnbindId(),
			unbind.Reported(now, platform.Report{Stage: platform.StageRefused, RefusalReason: "HAS_DEBT", Time: now}, now))
		w.must(err)
		read := func(r *oversightv1.GetUnbindCoverageRequest) *oversightv1.UnbindCoverage {
			t.Helper()
			resp, err := w.figures().GetUnbindCoverage(w.Context(), r)
			w.must(err)
			return resp.GetUnbinds()
		}
		if u := read(&oversightv1.GetUnbindCoverageRequest{}).GetTotal(); u.GetTaken() != 2 || u.GetRefused() != 1 || u.GetDue() != 0 || u.OnTimeRate != nil ||
			len(u.GetEndTimes()) != 3 || u.GetEndTimes()[0].GetWithinSeconds() != 7200 {
			t.Errorf("before they are due: %v", u)
		}
		w.pass(6 * 24 * time.Hour) // they were due after 120 h
		all := read(&oversightv1.GetUnbindCoverageRequest{})
		if u := all.GetTotal(); u.GetDue() != 2 || u.GetOnTime() != 1 || u.GetMissed() != 1 || u.GetOnTimeRate() != 0.5 || all.GetOpenOrders() != 1 || all.GetOverdueOrders() != 1 {
			t.Errorf("after: %v", all)
		}
		if len(all.GetDays()) != 7 || all.GetDays()[0].GetUnbinds().GetTaken() != 2 || all.GetDays()[5].GetUnbinds().GetDue() != 2 || len(all.GetPlatforms()) != 4 || len(all.GetCategories()) != 1 {
			t.Errorf("%v", all)
		}
		shop := read(&oversightv1.GetUnbindCoverageRequest{PlatformId: "shop"})
		if len(shop.GetPlatforms()) != 1 || shop.GetTotal().GetOnTimeRate() != 1 || shop.GetOverdueOrders() != 0 {
			t.Errorf("%v", shop)
		}
		resp, err := w.figures().GetRefusals(w.Context(), &oversightv1.GetRefusalsRequest{})
		r := resp.GetRefusals()
		if err != nil || r.GetRefused() != 1 || len(r.GetReasons()) != 1 || r.GetReasons()[0].GetReason() != "HAS_DEBT" || r.GetReasons()[0].GetCount() != 1 ||
			len(r.GetPlatforms()) != 1 || r.GetPlatforms()[0].GetPlatformId() != "shop" {
			t.Errorf("%v %v", r, err)
		}
		if later, err := w.figures().GetRefusals(w.Context(), &oversightv1.GetRefusalsRequest{FromDate: day(0)}); err != nil || later.GetRefusals().GetRefused() != 0 || len(later.GetRefusals().GetReasons()) != 0 {
			t.Errorf("%v %v", later, err)
		}
	})
}

func TestRefusedWindows(t *testing.T) {
	inWorld(t, open, func(w *world) {
		for _, c := range []struct{ from, to, field string }{
			{"x", "", "fromDate"}, {"", "x", "toDate"}, {"2000-1-1", "", "fromDate"}, {"", "2000-02-30", "toDate"}, {day(-1), "", "fromDate"}, {"", day(-1), "toDate"},
			{day(400), "", "fromDate"}, {"", day(400), "toDate"}, {day(0), day(1), "fromDate"}, {"1800-01-01", "", "fromDate"}, {"9999-12-31", "", "fromDate"},
			{"2000-01-01T00:00:00Z", "", "fromDate"}, {"２０００-01-01", "", "fromDate"}, {number, "", "fromDate"},
		} {
			_, whole := w.figures().GetCoverage(w.Context(), &oversightv1.GetCoverageRequest{FromDate: c.from, ToDate: c.to})
			_, rows := w.figures().ListPlatformCoverage(w.Context(), &oversightv1.ListPlatformCoverageRequest{FromDate: c.from, ToDate: c.to})
			_, unbinds := w.figures().GetUnbindCoverage(w.Context(), &oversightv1.GetUnbindCoverageRequest{FromDate: c.from, ToDate: c.to})
			_, refusals := w.figures().GetRefusals(w.Context(), &oversightv1.GetRefusalsRequest{FromDate: c.from, ToDate: c.to})
			for what, err := range map[string]error{"coverage": whole, "platforms": rows, "unbinds": unbinds, "refusals": refusals} {
				w.wants(what+" from "+c.from+" to "+c.to, err, "DATE_INVALID", c.field)
			}
		}
		for i := range 400 {
			if i%133 == 0 || i == 399 {
				_, err := w.figures().GetRefusals(w.Context(), &oversightv1.GetRefusalsRequest{FromDate: day(i), ToDate: day(i)})
				w.must(err)
			}
		}
		_, err := w.figures().ListPlatformCoverage(w.Context(), &oversightv1.ListPlatformCoverageRequest{GroupBy: "HOUR"})
		w.wants("by hour", err, "GROUP_INVALID", "groupBy")
		_, err = w.figures().ListPlatformCoverage(w.Context(), &oversightv1.ListPlatformCoverageRequest{PageToken: "x"})
		w.wants("a forged token", err, "PAGE_TOKEN_INVALID", "pageToken")
		_, err = w.figures().GetRefusals(w.Context(), &oversightv1.GetRefusalsRequest{Category: "购物"})
		w.wants("category", err, "CATEGORY_INVALID", "category")
		_, err = w.figures().GetUnbindCoverage(w.Context(), &oversightv1.GetUnbindCoverageRequest{PlatformId: "nobody"})
		w.wants("platform", err, "PLATFORM_UNKNOWN", "platformId")
	})
}
