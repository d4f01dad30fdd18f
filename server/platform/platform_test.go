package platform_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
)

func TestParseID(t *testing.T) {
	for _, good := range []string{"ab", "shop", "a1", "1a", "a.b-c_d", strings.Repeat("a", 64)} {
		if id, err := platform.ParseID(good); err != nil || string(id) != good {
			t.Errorf("ParseID(%q) = %q, %v", good, id, err)
		}
	}
	for _, bad := range []string{"", "a", "A1", "-a", ".a", "_a", "a b", "a/b", "a\n", "a\x00", "平台", strings.Repeat("a", 65), "../a"} {
		if id, err := platform.ParseID(bad); !errors.Is(err, fault.PlatformIDInvalid) || id != "" {
			t.Errorf("ParseID(%q) = %q, %v", bad, id, err)
		}
	}
}

// TestFinishOnce: of many answers to one call the first counts, and Done sees it.
func TestFinishOnce(t *testing.T) {
	var done, won atomic.Int32
	c := &platform.Call{Row: 3}
	c.Done = func(c *platform.Call) {
		done.Add(1)
		if c.Answer().State != platform.Bound || c.Row != 3 || !c.Finished() {
			t.Errorf("Done saw %+v", c.Answer())
		}
	}
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if c.Finish(platform.Answer{State: platform.Bound}) {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if done.Load() != 1 || won.Load() != 1 || c.Finish(platform.Answer{State: platform.Silent}) || c.Answer().State != platform.Bound {
		t.Errorf("Done was called %d times, %d calls were the first", done.Load(), won.Load())
	}
}

func TestCategories(t *testing.T) {
	all := platform.Categories()
	if len(all) != 39 {
		t.Errorf("%d categories, want 39", len(all))
	}
	for i, c := range all {
		if !platform.IsCategory(c) || slices.Contains(all[:i], c) {
			t.Errorf("category %q", c)
		}
	}
	all[0] = "x" // a copy
	if platform.IsCategory("x") || platform.IsCategory("") {
		t.Error("any text is a category")
	}
}

func TestSets(t *testing.T) {
	f := platform.FunctionLookup | platform.FunctionNumberEvents
	if !slices.Equal(f.Names(), []string{"LOOKUP", "NUMBER_EVENTS"}) || f.Has(platform.FunctionUnbind) || !f.Has(platform.FunctionLookup) {
		t.Errorf("functions %v", f.Names())
	}
	if len(platform.RefusalReasons()) != 14 || !platform.IsRefusalReason("HAS_DEBT") || platform.IsRefusalReason("has_debt") || platform.IsRefusalReason("") {
		t.Error("refusal reasons")
	}
	for e, want := range map[*platform.Entry]bool{{Address: "h:1"}: true, {}: false, {Address: "h:1", Suspended: true}: false} {
		if e.Joined() != want {
			t.Errorf("%+v joined: %v", e, e.Joined())
		}
	}
	for s, want := range map[platform.State]bool{
		platform.Bound: true, platform.NotBound: true, platform.NoData: true, platform.Pending: false, platform.Silent: false,
		platform.NotJoined: false, platform.NotAsked: false, platform.Withheld: false, 0: false,
	} {
		if s.Answered() != want {
			t.Errorf("state %d answered: %v", s, s.Answered())
		}
	}
}
