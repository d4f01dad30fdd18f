package link_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/link"
	"github.com/tongcha/tongcha/server/platform"
)

func ids(r *link.Roster) string {
	var out []string
	for _, p := range r.Platforms() {
		out = append(out, string(p.Info().ID))
	}
	return strings.Join(out, " ")
}

func TestRoster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r := link.NewRoster(w.options())
		defer r.Close()
		for _, id := range []platform.ID{"zoo", "alpha", "mid"} {
			if err := r.Join(platform.Entry{ID: id, Address: "a.example:1", Suspended: id == "mid"}); err != nil {
				t.Fatal(err)
			}
		}
		before := r.Platforms()
		if got := ids(r); got != "alpha zoo" {
			t.Errorf("snapshot %q", got)
		}
		if p, ok := r.Get("mid"); !ok || !p.Info().Suspended {
			t.Error("a suspended platform is not found")
		}
		if err := r.Update(platform.Entry{ID: "mid", Address: "a.example:1", DisplayName: "中"}); err != nil {
			t.Fatal(err)
		}
		r.Leave("zoo")
		r.Leave("zoo")
		if got := ids(r); got != "alpha mid" {
			t.Errorf("snapshot %q", got)
		}
		if len(before) != 2 || before[1].Info().ID != "zoo" {
			t.Error("an old snapshot changed")
		}
		if a := ask(t, before[1], time.Second).wait(); a.State != platform.Silent {
			t.Errorf("a platform that left says %+v", a)
		}
		if p, ok := r.Get("zoo"); ok || p != nil {
			t.Error("zoo is still there")
		}
		r.Close()
		if len(r.Platforms()) != 0 || !errors.Is(r.Join(platform.Entry{ID: "late", Address: "a.example:1"}), fault.ShuttingDown) {
			t.Error("closed, and open")
		}
	})
}

func TestRosterRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r := link.NewRoster(w.options())
		defer r.Close()
		good := platform.Entry{ID: "shop", Address: "a.example:1"}
		if err := r.Join(good); err != nil {
			t.Fatal(err)
		}
		if err := r.Join(good); !errors.Is(err, fault.PlatformExists) {
			t.Errorf("twice: %v", err)
		}
		if err := r.Update(platform.Entry{ID: "other", Address: "a.example:1"}); !errors.Is(err, fault.PlatformUnknown) {
			t.Errorf("unknown: %v", err)
		}
		if err := r.Join(platform.Entry{ID: "A", Address: "a.example:1"}); !errors.Is(err, fault.PlatformIDInvalid) {
			t.Errorf("id: %v", err)
		}
		for _, a := range []string{"", "a.example", ":1", "a.example:0", "a.example:65536", "a.example:http", "::1:9"} {
			if err := r.Join(platform.Entry{ID: "x1", Address: a}); !errors.Is(err, fault.AddressInvalid) {
				t.Errorf("%q: %v", a, err)
			}
		}
	})
}

func TestDescription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := description()
		d.DisplayName, d.MaxBatch, d.SelfServiceUrl = "购\u202e物\n13800138000", 100000, "https://shop.example/me"
		d.Products = []string{"商城", "\x00", strings.Repeat("长", 80)}
		d.UnbindMode = connectorv1.UnbindMode_UNBIND_MODE_REDIRECT
		var says atomic.Pointer[connectorv1.DescribeResponse]
		says.Store(d)
		w.connector(&connector{describe: func() (*connectorv1.DescribeResponse, error) { return says.Load(), nil }})
		var told []platform.Functions
		r, p := w.shop(func(o *link.Options) {
			o.OnDescribe = func(_ platform.ID, f platform.Functions) { told = append(told, f) }
		})
		i := p.Info()
		if i.Health != platform.HealthServing || i.Problem != "" || !i.LastSeen.Equal(time.Now()) || i.MaxBatch != 256 ||
			i.UnbindMode != platform.ModeRedirect || i.Functions != platform.FunctionLookup|platform.FunctionUnbind ||
			i.DisplayName != "购物 *******" || i.SelfServiceURL != "https://shop.example/me" ||
			len(i.Products) != 2 || i.Products[1] != strings.Repeat("长", 64) {
			t.Errorf("%+v", i)
		}
		e := i.Entry
		e.DisplayName, e.SelfServiceURL, e.Functions = "目录名", "https://catalogue.example/", 0
		if err := r.Update(e); err != nil {
			t.Fatal(err)
		}
		d = description()
		d.Functions, d.SelfServiceUrl = d.Functions[:1], "http://insecure.example/"
		says.Store(d)
		time.Sleep(41 * time.Second)
		synctest.Wait()
		i = p.Info()
		if i.DisplayName != "目录名" || i.SelfServiceURL != "https://catalogue.example/" || i.Functions != platform.FunctionLookup {
			t.Errorf("%+v", i)
		}
		if len(told) != 2 || told[0] != platform.FunctionLookup|platform.FunctionUnbind || told[1] != platform.FunctionLookup {
			t.Errorf("told %v", told)
		}
	})
}

func TestDescriptionRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*connectorv1.DescribeResponse)
		problem string
	}{
		"other id":     {func(d *connectorv1.DescribeResponse) { d.PlatformId = number }, "it describes itself as another platform"},
		"version 2":    {func(d *connectorv1.DescribeResponse) { d.ProtocolVersion = "2.0" }, "it speaks another protocol version than 1"},
		"version 1.x":  {func(d *connectorv1.DescribeResponse) { d.ProtocolVersion = "1.x" }, "it speaks another protocol version than 1"},
		"version 10":   {func(d *connectorv1.DescribeResponse) { d.ProtocolVersion = "10.0" }, "it speaks another protocol version than 1"},
		"no function":  {func(d *connectorv1.DescribeResponse) { d.Functions = []connectorv1.Function{0, 99} }, "it offers no function"},
		"no mode":      {func(d *connectorv1.DescribeResponse) { d.UnbindMode = 0 }, "it offers UNBIND without an unbind mode"},
		"mode 99":      {func(d *connectorv1.DescribeResponse) { d.UnbindMode = 99 }, "it offers UNBIND without an unbind mode"},
		"too large":    {func(d *connectorv1.DescribeResponse) { d.DisplayName = strings.Repeat("a", 1<<20) }, "its description is too large or no protobuf message"},
		"later minor":  {func(d *connectorv1.DescribeResponse) { d.ProtocolVersion, d.Functions[0] = "1.9", 99 }, ""},
		"batch of -1":  {func(d *connectorv1.DescribeResponse) { d.MaxBatch = -1 }, ""},
		"100 products": {func(d *connectorv1.DescribeResponse) { d.Products = make([]string, 100) }, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.connector(&connector{describe: func() (*connectorv1.DescribeResponse, error) {
				d := description()
				c.change(d)
				return d, nil
			}})
			_, p := w.shop()
			if i := p.Info(); i.Problem != c.problem || (i.Health == platform.HealthServing) != (c.problem == "") || i.MaxBatch < 1 {
				t.Errorf("%s: %+v", name, i)
			}
		})
	}
}

// A success is looked for after 1, 2, 4, 8, 10 s; then every 20 s.
func TestProbeTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		start := time.Now()
		var at []time.Duration
		w.connector(&connector{describe: func() (*connectorv1.DescribeResponse, error) {
			since := time.Since(start)
			if at = append(at, since); since < 5*time.Second || since > 40*time.Second && since < 50*time.Second {
				return nil, status.Error(codes.PermissionDenied, number)
			}
			return description(), nil
		}})
		_, p := w.shop()
		time.Sleep(500 * time.Millisecond)
		if i := p.Info(); i.Health != platform.HealthNotServing || i.Problem != "it refuses the hub" {
			t.Errorf("%+v", i)
		}
		time.Sleep(99500 * time.Millisecond)
		synctest.Wait()
		want := []time.Duration{0, 1, 3, 7, 27, 47, 48, 50, 70, 90}
		if len(at) != len(want) {
			t.Fatalf("probed at %v", at)
		}
		for i := range want {
			if at[i] != want[i]*time.Second {
				t.Errorf("probed at %v", at)
			}
		}
		if logs := w.logs.String(); strings.Contains(logs, "13800138000") || strings.Count(logs, "platform is serving") != 2 ||
			strings.Count(logs, "not serving") != 2 {
			t.Error(logs)
		}
	})
}

// A partition of an hour heals within 20 s, and a changed address at once.
func TestReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stop := w.connector(&connector{})
		r, p := w.shop()
		stop()
		time.Sleep(time.Hour)
		if p.Info().Health != platform.HealthNotServing {
			t.Errorf("%+v", p.Info())
		}
		w.connector(&connector{})
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if a := ask(t, p, time.Second).wait(); a.State != platform.Bound || p.Info().Health != platform.HealthServing {
			t.Errorf("%+v %+v", a, p.Info())
		}
		if err := r.Update(platform.Entry{ID: "shop", Address: "moved.example:1"}); err != nil {
			t.Fatal(err)
		}
		moved, _ := r.Get("shop")
		if a := ask(t, moved, time.Second).wait(); a.State != platform.Silent || moved == p || r.Platforms()[0] != moved {
			t.Errorf("%+v", a)
		}
	})
}
