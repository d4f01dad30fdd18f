package server_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/platform"
)

const listHeading = "platform_id,name_zh,name_en,category,weight,obliged_since,source\n"

func (s *site) rows(file string) []platform.Entry {
	s.Helper()
	rows, err := coverage.ParseFile([]byte(listHeading + file))
	s.must(err)
	return rows
}

// exported is the catalogue as a file.
func (s *site) exported() string {
	s.Helper()
	out, err := coverage.FormatFile(s.hub.Catalogue().Entries())
	s.must(err)
	return string(out)
}

// TestImport: a file changes what an authority says of platforms, at once, after
// a restart and in what is asked, and never whether and where they have joined.
func TestImport(t *testing.T) {
	s := newSite(t)
	shop := s.connector(false)
	s.start()
	c := s.hub.Catalogue()
	_, err := c.Add(t.Context(), entry(shop.address))
	s.must(err)
	_, err = c.Suspend(t.Context(), "shop", "演练")
	s.must(err)
	s.must(c.Put(t.Context(), platform.Entry{ID: "idle", DisplayName: "未接入", Category: "网上购物"}))
	before, _ := c.Known("shop")
	const file = "maps,地图,Maps,地图导航,3,2024-07-01,通知\nshop,商城,Mall,网络支付,12.5,2024-07-01,通知\n"
	imported := func(dryRun, remove bool) []coverage.Change {
		t.Helper()
		changes, _, err := c.Import(t.Context(), s.rows(file), dryRun, remove)
		s.must(err)
		return changes
	}
	untouched := s.exported()
	if changes := imported(true, true); len(changes) != 3 || s.exported() != untouched {
		t.Errorf("a dry run: %+v", changes)
	}
	calls := shop.calls()
	if changes := imported(false, false); len(changes) != 3 || changes[0].Kind != coverage.Missing {
		t.Errorf("%+v", changes)
	}
	check := func() {
		t.Helper()
		now, _ := c.Known("shop")
		if now.DisplayName != "商城" || now.Category != "网络支付" || now.WeightMilli != 12500 || now.NameEN != "Mall" {
			t.Errorf("not taken over: %+v", now.Entry)
		}
		if now.Address != before.Address || !now.Suspended || now.SuspendReason != "演练" || !now.AddTime.Equal(before.AddTime) || now.Functions != before.Functions {
			t.Errorf("%+v, was %+v", now.Entry, before.Entry)
		}
		if maps, ok := c.Known("maps"); !ok || maps.AddTime.IsZero() || maps.Address != "" {
			t.Errorf("%+v", maps.Entry)
		}
		if _, ok := c.Known("idle"); !ok {
			t.Error("what is missing in the file is gone")
		}
	}
	check()
	if shop.calls() != calls {
		t.Error("an import dialled a platform anew")
	}
	c = s.again()
	check()
	_, err = c.Resume(t.Context(), "shop") // what the file said outlasts other changes
	s.must(err)
	if info, _ := c.Info("shop"); info.DisplayName != "商城" || info.WeightMilli != 12500 || info.Suspended {
		t.Errorf("%+v", info.Entry)
	}
	if changes := imported(false, true); len(changes) != 1 || changes[0].Kind != coverage.Removed {
		t.Errorf("%+v", changes)
	}
	if got := s.exported(); got != listHeading+file {
		t.Errorf("exported %s", got)
	}
	if changes := imported(false, true); len(changes) != 0 {
		t.Errorf("importing what was exported changes %+v", changes)
	}
	c = s.again()
	if got := s.exported(); got != listHeading+file {
		t.Errorf("after a restart: %s", got)
	}
	if changes, _, err := c.Import(t.Context(), nil, false, true); err != nil || len(changes) != 2 || !c.IsMember("shop") {
		t.Errorf("an empty file takes out one that has joined: %+v %v", changes, err)
	}
}

// TestImportIsWhole: an import that can't be stored changes nothing.
func TestImportIsWhole(t *testing.T) {
	s := newSite(t)
	s.start()
	c := s.hub.Catalogue()
	s.must(c.Put(t.Context(), platform.Entry{ID: "idle", DisplayName: "未接入", Category: "网上购物"}))
	before := c.Entries()
	left, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := c.Import(left, s.rows("aa,甲,,网上购物,,,\nbb,乙,,网上购物,,,\n"), false, true); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if got := c.Entries(); !reflect.DeepEqual(got, before) {
		t.Errorf("%+v", got)
	}
	if got := s.again().Entries(); len(got) != 1 {
		t.Errorf("after a restart: %+v", got)
	}
}

// TestAddKeepsTheListing: joining a platform that a file catalogued keeps what
// the file said.
func TestAddKeepsTheListing(t *testing.T) {
	s := newSite(t)
	shop := s.connector(false)
	s.start()
	c := s.hub.Catalogue()
	_, _, err := c.Import(t.Context(), s.rows("shop,商城,Mall,网络支付,12.5,2024-07-01,通知\n"), false, false)
	s.must(err)
	info, err := c.Add(t.Context(), entry(shop.address))
	if err != nil || info.WeightMilli != 12500 || !info.Obliged(time.Now()) || info.DisplayName != "购物" {
		t.Errorf("%+v %v", info.Entry, err)
	}
}
