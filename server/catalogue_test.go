package server_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
)

func entry(address string) platform.Entry {
	return platform.Entry{ID: "shop", DisplayName: "购物", Category: "网上购物", Address: address, AddTime: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
}

// again is the catalogue after a restart.
func (s *site) again() *server.Catalogue {
	s.Helper()
	s.restart()
	return s.hub.Catalogue()
}

func TestCatalogueIsKept(t *testing.T) {
	s := newSite(t)
	shop := s.connector(false)
	s.start()
	c := s.hub.Catalogue()
	s.must(c.Put(t.Context(), platform.Entry{ID: "idle", DisplayName: "未接入", Category: "网上购物"}))
	info, err := c.Add(t.Context(), entry(shop.address))
	if err != nil || info.Health != platform.HealthServing || !info.Functions.Has(platform.FunctionUnbind) {
		t.Fatalf("%+v %v", info, err)
	}
	if _, err := c.Add(t.Context(), entry(shop.address)); !errors.Is(err, fault.PlatformExists) {
		t.Errorf("twice: %v", err)
	}
	info, err = c.Suspend(t.Context(), "shop", "why")
	if err != nil || !info.Suspended || !c.Functions("shop").Has(platform.FunctionUnbind) || !c.IsMember("shop") {
		t.Errorf("%+v %v", info, err)
	}
	c = s.again()
	info, ok := c.Known("shop")
	if !ok || !info.Suspended || info.SuspendReason != "why" || !info.AddTime.Equal(entry("").AddTime) || !info.Functions.Has(platform.FunctionUnbind) {
		t.Errorf("after a restart: %+v", info)
	}
	if _, err := c.Suspend(t.Context(), "shop", ""); !errors.Is(err, fault.PlatformState) {
		t.Errorf("suspended twice: %v", err)
	}
	if info, err = c.Resume(t.Context(), "shop"); err != nil || info.Suspended || info.SuspendReason != "" {
		t.Errorf("%+v %v", info, err)
	}
	c = s.again()
	if all := c.All(); len(all) != 2 || all[0].ID != "idle" || all[1].Suspended || all[0].Problem == "" || all[1].Address != shop.address {
		t.Errorf("%+v", all)
	}
	if c.IsMember("idle") || c.IsMember("nobody") || !c.IsMember("shop") {
		t.Error("members")
	}
	if _, err := c.Resume(t.Context(), "shop"); !errors.Is(err, fault.PlatformState) {
		t.Errorf("resumed twice: %v", err)
	}
}

func TestCatalogueRefuses(t *testing.T) {
	s := newSite(t)
	s.start()
	c := s.hub.Catalogue()
	s.must(c.Put(t.Context(), platform.Entry{ID: "idle", DisplayName: "未接入"}))
	for _, change := range []func(platform.ID) (platform.Info, error){
		func(id platform.ID) (platform.Info, error) { return c.Suspend(t.Context(), id, "") },
		func(id platform.ID) (platform.Info, error) { return c.Resume(t.Context(), id) },
	} {
		if _, err := change("nobody"); !errors.Is(err, fault.PlatformUnknown) {
			t.Errorf("%v", err)
		}
		if _, err := change("idle"); !errors.Is(err, fault.PlatformState) {
			t.Errorf("%v", err)
		}
	}
	for _, address := range []string{"shop", "shop:https", ":1", "shop:0"} {
		if _, err := c.Add(t.Context(), entry(address)); !errors.Is(err, fault.AddressInvalid) {
			t.Errorf("%s: %v", address, err)
		}
	}
	if err := c.Put(t.Context(), platform.Entry{ID: "A b"}); !errors.Is(err, fault.PlatformIDInvalid) {
		t.Errorf("%v", err)
	}
	c = s.again() // nothing that keeps the hub from starting is on disk
	if all := c.All(); len(all) != 1 {
		t.Errorf("%+v", all)
	}
}

// One that was catalogued keeps when it was added, at once and after a restart.
func TestCataloguedPlatformJoins(t *testing.T) {
	s := newSite(t)
	shop := s.connector(false)
	s.start()
	c := s.hub.Catalogue()
	s.must(c.Put(t.Context(), entry("")))
	later := entry(shop.address)
	later.AddTime = time.Now()
	info, err := c.Add(t.Context(), later)
	if err != nil || !info.AddTime.Equal(entry("").AddTime) {
		t.Errorf("%v %v", info.AddTime, err)
	}
	c = s.again()
	if info, _ := c.Known("shop"); !info.AddTime.Equal(entry("").AddTime) {
		t.Errorf("after a restart: %v", info.AddTime)
	}
}

// What is put before the hub serves is dialled when it does.
func TestPutBeforeServing(t *testing.T) {
	s := newSite(t)
	shop := s.connector(false)
	h := s.open()
	s.must(h.Catalogue().Put(t.Context(), entry(shop.address)))
	if !h.Catalogue().IsMember("shop") || shop.calls() != 0 {
		t.Errorf("%d calls", shop.calls())
	}
	s.must(h.Close())
	s.start()
	s.eventually("it is asked", func() bool { return s.hub.Catalogue().Functions("shop") != 0 })
	if shop.calls() == 0 {
		t.Error("nobody asked it")
	}
}

func TestOneOfManyAddsWins(t *testing.T) {
	s := newSite(t)
	shop := s.connector(false)
	s.start()
	c := s.hub.Catalogue()
	var mu sync.Mutex
	var added, exists int
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			_, err := c.Add(context.Background(), entry(shop.address))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				added++
			} else if errors.Is(err, fault.PlatformExists) {
				exists++
			}
		})
	}
	all.Wait()
	if added != 1 || exists != 19 {
		t.Errorf("%d added, %d exist", added, exists)
	}
}

func TestChangedAddress(t *testing.T) {
	s := newSite(t)
	first, second := s.connector(false), s.connector(false)
	s.start()
	c := s.hub.Catalogue()
	_, err := c.Add(t.Context(), entry(first.address))
	s.must(err)
	s.must(c.Put(t.Context(), entry(second.address)))
	s.eventually("the second answers", func() bool { return second.calls() > 0 })
	if c.Functions("shop") == 0 {
		t.Error("what it offered is forgotten")
	}
	c = s.again()
	if info, _ := c.Known("shop"); info.Address != second.address {
		t.Errorf("after a restart: %s", info.Address)
	}
}

// A description is recorded in the goroutine that a change of address waits for.
func TestDescriptionsRacingChangesOfAddress(t *testing.T) {
	s := newSite(t)
	one, other := s.connector(true), s.connector(true)
	s.start()
	c := s.hub.Catalogue()
	done := make(chan error, 1)
	go func() {
		for i := range 40 {
			address, asked := one, one.calls()
			if i%2 == 1 {
				address, asked = other, other.calls()
			}
			if err := c.Put(context.Background(), entry(address.address)); err != nil {
				done <- fmt.Errorf("change %d: %w", i, err)
				return
			}
			for i%4 < 2 && address.calls() == asked { // let half of them be described
				runtime.Gosched()
			}
		}
		done <- nil
	}()
	select {
	case err := <-done:
		s.must(err)
	case <-time.After(within):
		t.Fatal("deadlock")
	}
}
