package server

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/admin"
	"github.com/tongcha/tongcha/server/clock"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/unbind"
)

// healthy is a hub with nothing to find, at a time.
func healthy(now time.Time) (*Hub, admin.HubStatus) {
	s := admin.HubStatus{
		State: "SERVING", StartTime: now.Add(-time.Hour), FreeSize: freeWarning, Flushed: now, Swept: now, CalendarEnd: now.AddDate(1, 0, 0),
		Certificates: []admin.Certificate{{Name: "hub", Expire: now.Add(leafWarning)}, {Name: "authority", Expire: now.Add(caWarning)}},
	}
	return &Hub{}, s
}

func TestFindings(t *testing.T) {
	page, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for what, row := range map[string]struct {
		change func(*Hub, *admin.HubStatus)
		absent []string
		want   []string
	}{
		"nothing":              {func(*Hub, *admin.HubStatus) {}, nil, nil},
		"draining":             {func(_ *Hub, s *admin.HubStatus) { s.State = "DRAINING" }, nil, []string{"DRAINED"}},
		"drained":              {func(_ *Hub, s *admin.HubStatus) { s.State = "DRAINED" }, nil, []string{"DRAINED"}},
		"stopping":             {func(_ *Hub, s *admin.HubStatus) { s.State = "STOPPING" }, nil, []string{"STOPPING"}},
		"disk":                 {func(_ *Hub, s *admin.HubStatus) { s.FreeSize = freeWarning - 1 }, nil, []string{"DISK_FILLING"}},
		"disk nobody can tell": {func(h *Hub, s *admin.HubStatus) { s.FreeSize, h.cfg.MinFree = -1, 1 }, nil, nil},
		"disk full":            {func(h *Hub, s *admin.HubStatus) { s.FreeSize, h.cfg.MinFree = 63<<20, 64<<20 }, nil, []string{"STORAGE_FULL", "DISK_FILLING"}},
		"leaf":                 {func(_ *Hub, s *admin.HubStatus) { s.Certificates[0].Expire = now.Add(leafWarning - 1) }, nil, []string{"CERTIFICATE_EXPIRING"}},
		"authority":            {func(_ *Hub, s *admin.HubStatus) { s.Certificates[1].Expire = now.Add(caWarning - 1) }, nil, []string{"CERTIFICATE_EXPIRING"}},
		"paused": {func(_ *Hub, s *admin.HubStatus) {
			s.Pauses = []unbind.Pause{{}, {Platform: "shop"}}
		}, nil, []string{"QUEUE_PAUSED"}},
		"a platform paused": {func(_ *Hub, s *admin.HubStatus) {
			s.Pauses = []unbind.Pause{{Platform: "shop"}}
		}, nil, []string{"QUEUE_PAUSED"}},
		"overdue":            {func(_ *Hub, s *admin.HubStatus) { s.Overdue = 1 }, nil, []string{"ORDERS_OVERDUE"}},
		"abandoned long ago": {func(_ *Hub, s *admin.HubStatus) { s.Abandoned = 7 }, nil, nil},
		"abandoned today": {func(h *Hub, s *admin.HubStatus) {
			h.pulse.abandonedAt.Store(now.Add(-time.Hour).UnixNano())
		}, nil, []string{"ORDERS_ABANDONED"}},
		"abandoned yesterday": {func(h *Hub, s *admin.HubStatus) {
			h.pulse.abandonedAt.Store(now.Add(-25 * time.Hour).UnixNano())
		}, nil, nil},
		"a platform":          {func(*Hub, *admin.HubStatus) {}, []string{"shop"}, []string{"PLATFORMS_NOT_SERVING"}},
		"a platform at first": {func(_ *Hub, s *admin.HubStatus) { s.StartTime = now.Add(-settleTime) }, []string{"shop"}, nil},
		"calendar":            {func(_ *Hub, s *admin.HubStatus) { s.CalendarEnd = now.AddDate(0, 0, 29) }, nil, []string{"CALENDAR_ENDS"}},
		"clock a little off":  {func(_ *Hub, s *admin.HubStatus) { s.ClockOff, s.ClockJump = -clock.Tolerance, -clock.Tolerance }, nil, nil},
		"clock behind":        {func(_ *Hub, s *admin.HubStatus) { s.ClockOff = -clock.Tolerance - 1 }, nil, []string{"CLOCK_BEHIND"}},
		"clock ahead": {func(_ *Hub, s *admin.HubStatus) {
			s.ClockOff, s.ClockJump, s.Certificates = time.Hour, time.Hour, nil
		}, nil, []string{"CLOCK_JUMPED"}},
		"clock set back":  {func(_ *Hub, s *admin.HubStatus) { s.ClockOff, s.ClockJump = -time.Hour, -time.Hour }, nil, []string{"CLOCK_JUMPED"}},
		"clock set right": {func(_ *Hub, s *admin.HubStatus) { s.ClockOff, s.ClockJump = 0, time.Hour }, nil, nil},
		"leaf, by the machine's clock": {func(_ *Hub, s *admin.HubStatus) {
			s.ClockOff, s.ClockJump, s.Certificates = time.Hour, time.Hour, s.Certificates[:1]
		}, nil, []string{"CERTIFICATE_EXPIRING", "CLOCK_JUMPED"}},
		"no flush": {func(_ *Hub, s *admin.HubStatus) { s.Flushed = now.Add(-flushWarning - 1) }, nil, []string{"HOUSEKEEPING_FAILED"}},
		"no sweep": {func(_ *Hub, s *admin.HubStatus) { s.Swept = time.Time{} }, nil, []string{"HOUSEKEEPING_FAILED"}},
	} {
		h, s := healthy(now)
		row.change(h, &s)
		var got []string
		for _, f := range h.findings(s, row.absent, now) {
			got = append(got, f.Code)
			if f.Text == "" || f.Action == "" {
				t.Errorf("%s: %+v", what, f)
			}
		}
		if !slices.Equal(got, row.want) {
			t.Errorf("%s: %v, want %v", what, got, row.want)
		}
		for _, code := range got {
			if !strings.Contains(string(page), "\n| `"+code+"` | ") {
				t.Errorf("docs/operations.md has no row for the finding %s", code)
			}
		}
	}
}

func TestCountPlatforms(t *testing.T) {
	entry := func(id platform.ID, address string, suspended bool) platform.Entry {
		return platform.Entry{ID: id, Address: address, Suspended: suspended}
	}
	n, absent := countPlatforms([]platform.Info{
		{Entry: entry("catalogued", "", false)},
		{Entry: entry("serving", "a:1", false), Health: platform.HealthServing},
		{Entry: entry("suspended", "a:1", true), Health: platform.HealthNotServing},
		{Entry: entry("down", "a:1", false), Health: platform.HealthNotServing},
		{Entry: entry("unfit", "a:1", false), Health: platform.HealthServing, Unfit: true},
	})
	if want := (admin.PlatformCounts{Catalogued: 5, Joined: 4, Serving: 1, Suspended: 1}); n != want || !slices.Equal(absent, []string{"down", "unfit"}) {
		t.Errorf("%+v %v", n, absent)
	}
}

// TestNoteAbandoned: orders given up before the hub's first look are old news,
// those after it are noted.
func TestNoteAbandoned(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(seal.Create(filepath.Join(dir, "keys.json")))
	keys, err := seal.Load(filepath.Join(dir, "keys.json"))
	must(err)
	store, err := bolt.Open(filepath.Join(dir, "hub.db"), keys)
	must(err)
	defer func() { must(store.Close()) }()
	abandon := func() {
		t.Helper()
		n, err := phone.ParseNumber("13912349876")
		must(err)
		now := time.Now()
		o := unbind.New(seal.NewID(now), now, now.Add(time.Hour), unbind.Order{Platform: "shop", Number: n, NumberIndex: phone.IndexOf(keys, n), AccountRefs: []string{"a"}})
		_, err = store.Enqueue(t.Context(), unbind.Enqueue{NumberIndex: o.NumberIndex, RequestKey: [32]byte(seal.Token(32)), Now: now, Items: []unbind.Item{{Platform: "shop", Order: &o}}})
		must(err)
		claims, _, err := store.Claim(t.Context(), unbind.ClaimRequest{Now: now, Lease: time.Minute, Max: 1, Free: func(platform.ID) int { return 1 }})
		must(err)
		_, err = store.Finish(t.Context(), claims[0], unbind.Abandon(unbind.Attempt{Began: now, Ended: now}, "TOO_OLD"))
		must(err)
	}
	h := &Hub{store: store}
	abandon()
	must(h.noteAbandoned(t.Context()))
	if h.pulse.abandonedAt.Load() != 0 {
		t.Error("an order given up before the first look is news")
	}
	abandon()
	must(h.noteAbandoned(t.Context()))
	noted := h.pulse.abandonedAt.Load()
	if noted == 0 {
		t.Error("an order given up is not noted")
	}
	must(h.noteAbandoned(t.Context()))
	if h.pulse.abandonedAt.Load() != noted {
		t.Error("the same order is noted twice")
	}
}
