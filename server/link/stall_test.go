package link_test

import (
	"context"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/encoding/protowire"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server/link"
	"github.com/tongcha/tongcha/server/pki"
	"github.com/tongcha/tongcha/server/platform"
)

func TestStallInTheHandshake(t *testing.T) {
	for name, says := range map[string]string{"silence": "", "the start of a record": "\x16\x03\x03\x00"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				l := w.listen(shopAt)
				var all sync.WaitGroup
				all.Go(func() {
					for {
						conn, err := l.Accept()
						if err != nil {
							return
						}
						all.Go(func() {
							_, _ = conn.Write([]byte(says))
							_, _ = io.Copy(io.Discard, conn)
							_ = conn.Close()
						})
					}
				})
				t.Cleanup(func() { _ = l.Close(); all.Wait() })
				r, p := w.shop(w.timeless)
				chat := w.chat(r)
				bad, good := ask(t, p, 2*time.Second), ask(t, chat, 2*time.Second)
				if a := good.wait(); a.State != platform.Bound || a.Took != 0 {
					t.Errorf("the other platform: %+v", a)
				}
				if a := bad.wait(); a.State != platform.Silent || a.Malformed || a.Took != 2*time.Second {
					t.Errorf("%+v", a)
				}
				time.Sleep(time.Minute)
				if i := p.Info(); i.Problem != "it accepts connections but does not finish the TLS handshake" {
					t.Errorf("%+v", i)
				}
				r.Close()
			})
		})
	}
}

// A stock server that cuts clients for more than a ping in five minutes never
// cuts the hub, however its hours go: idle, busy, or with calls that stay open.
func TestPingsOfTheHub(t *testing.T) {
	for name, c := range map[string]struct{ probe, slow time.Duration }{
		"probed, never answering": {0, time.Hour}, "hardly probed, slow": {time.Hour, 50 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				var takes atomic.Int64
				l := w.slowShop(&connector{lookup: func(ctx context.Context, r *connectorv1.LookupBindingsRequest) (*connectorv1.LookupBindingsResponse, error) {
					select {
					case <-time.After(time.Duration(takes.Load())):
					case <-ctx.Done():
						return nil, ctx.Err()
					}
					out := answers(r, bound)
					out.Answers[0].Accounts = several(50)
					return out, nil
				}}, grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Minute}))
				_, p := w.shop(w.timeless, func(o *link.Options) { o.ProbeEvery = c.probe })
				for hour := range 6 {
					time.Sleep(20 * time.Minute)
					takes.Store(0)
					for range 600 {
						if a := ask(t, p, 2*time.Second).wait(); a.State != platform.Bound {
							t.Fatalf("hour %d: %+v", hour, a)
						}
						time.Sleep(time.Second)
					}
					takes.Store(int64(c.slow))
					for range 30 {
						if a := ask(t, p, time.Minute).wait(); (a.State == platform.Bound) != (c.slow < time.Minute) {
							t.Fatalf("hour %d: %+v", hour, a)
						}
					}
				}
				if n := l.conns.Load(); n != 1 {
					t.Errorf("%d connections", n)
				}
			})
		})
	}
}

// A number that does not fit its field is read as protobuf cuts it, never as a
// count to trust.
func TestNumbersBeyondTheirFields(t *testing.T) {
	const state, accounts, period = 2, 4, 3 // field numbers
	varint := func(field protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, field, protowire.VarintType), v)
	}
	for name, c := range map[string]struct {
		spoil     func(*connectorv1.SubjectAnswer)
		malformed bool
	}{
		"state 2^63":    {func(a *connectorv1.SubjectAnswer) { a.ProtoReflect().SetUnknown(varint(state, 1<<63)) }, true},
		"state 2^64-1":  {func(a *connectorv1.SubjectAnswer) { a.ProtoReflect().SetUnknown(varint(state, 1<<64-1)) }, true},
		"state 2^32+1":  {func(a *connectorv1.SubjectAnswer) { a.ProtoReflect().SetUnknown(varint(state, 1<<32+1)) }, false}, // cut to BOUND
		"period 2^63":   {func(a *connectorv1.SubjectAnswer) { a.Accounts[0].ProtoReflect().SetUnknown(varint(period, 1<<63)) }, false},
		"period 2^64-1": {func(a *connectorv1.SubjectAnswer) { a.Accounts[0].ProtoReflect().SetUnknown(varint(period, 1<<64-1)) }, true},
		"11 bytes": {func(a *connectorv1.SubjectAnswer) {
			a.ProtoReflect().SetUnknown(append([]byte{state << 3}, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"...))
		}, true},
		"length of 2^63": {func(a *connectorv1.SubjectAnswer) {
			a.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, accounts, protowire.BytesType), 1<<63))
		}, true},
		"50,000 accounts": {func(a *connectorv1.SubjectAnswer) { a.Accounts = slices.Repeat([]*connectorv1.Account{{}}, 50_000) }, true},
	} {
		a := one(t, time.Time{}, func(r *connectorv1.LookupBindingsRequest) (*connectorv1.LookupBindingsResponse, error) {
			out := answers(r, bound)
			c.spoil(out.Answers[0])
			return out, nil
		})
		if a.Malformed != c.malformed || (a.State == platform.Silent) != c.malformed || !c.malformed && len(a.Accounts) != 1 {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

// A certificate that is not valid yet is told from one that has expired. Bubbles
// begin in 2000, so that what was issued outside is of their future.
func TestCertificateOfTheFuture(t *testing.T) {
	ca := newCA(t)
	config := pki.ServerConfig(issue(t, ca, pki.RolePlatform, "shop", 0), domain)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.ca = ca
		w.serve(shopAt, config, func(s *grpc.Server) { connectorv1.RegisterConnectorServiceServer(s, &connector{}) })
		_, p := w.shop(w.timeless)
		if a := ask(t, p, time.Second).wait(); a.State != platform.Silent || a.Malformed {
			t.Errorf("%+v", a)
		}
		if i := p.Info(); i.Health != platform.HealthNotServing || i.Problem != "its certificate is not valid yet" {
			t.Errorf("%+v", i)
		}
	})
}
