package lookup_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/tongcha/tongcha/server/lookup"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
)

// instant is a platform that answers within Ask, so that only the fan-out is
// measured.
type instant struct {
	peer
	info platform.Info
}

func (p *instant) Info() platform.Info   { return p.info }
func (p *instant) Ask(c *platform.Call)  { c.Finish(platform.Answer{State: platform.NotBound}) }
func (*instant) Withdraw(*platform.Call) {}

// memory keeps nothing and says when a lookup has ended.
type memory struct {
	lookup.Store
	ended chan struct{}
}

func (memory) Create(_ context.Context, l lookup.Lookup, _ lookup.Admission) (string, error) {
	return l.ID, nil
}

func (m memory) Merge(context.Context, lookup.Lookup) error {
	m.ended <- struct{}{}
	return nil
}

// plain is a MAC of a benchmark that measures none.
type plain struct{}

func (plain) Sum(string, ...[]byte) [32]byte { return [32]byte{} }

// BenchmarkStart is a lookup from Start to its record, without any platform's
// or disk's own time.
func BenchmarkStart(b *testing.B) {
	for _, n := range []int{32, 256} {
		b.Run(fmt.Sprint("platforms=", n), func(b *testing.B) {
			var joined []platform.Platform
			var entries []platform.Entry
			for i := range n {
				e := platform.Entry{ID: platform.ID(fmt.Sprintf("p%03d", i)), DisplayName: "名称", Category: "短视频", Address: "peer:1", Functions: platform.FunctionLookup}
				entries = append(entries, e)
				joined = append(joined, &instant{info: platform.Info{Entry: e, MaxBatch: 1}})
			}
			store := memory{ended: make(chan struct{}, 1)}
			s := lookup.New(lookup.Options{
				Store: store, Joined: func() []platform.Platform { return joined }, Catalogue: func() []platform.Entry { return entries },
				MAC: plain{}, Limits: lookup.DefaultLimits(), Logger: slog.New(slog.DiscardHandler),
			})
			number, err := phone.ParseNumber("13800130001")
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Start(b.Context(), lookup.Request{Number: number}); err != nil {
					b.Fatal(err)
				}
				<-store.ended
			}
		})
	}
}
