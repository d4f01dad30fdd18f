package main

import (
	"context"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tongcha/tongcha/connectors/sdk"
	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
)

// office is a platform of the test's own with one account on every number. It
// fails unbind orders until it is open.
type office struct {
	open     atomic.Bool
	unbound  atomic.Int64
	attempts atomic.Int64
}

// Lookup implements sdk.Handler.
func (o *office) Lookup(context.Context, sdk.Subject) (sdk.Answer, error) {
	return sdk.Found(sdk.Account{Ref: "one", Product: "公文", BoundAt: time.Unix(1_400_000_000, 0)}), nil
}

// Unbind implements sdk.Unbinder.
func (o *office) Unbind(context.Context, sdk.Order) (sdk.Outcome, error) {
	o.unbound.Add(1)
	return sdk.Completed(), nil
}

func (o *office) closedDoor(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if _, ok := req.(*connectorv1.RequestUnbindRequest); ok {
		o.attempts.Add(1)
		if !o.open.Load() {
			return nil, status.Error(codes.Unavailable, "closed")
		}
	}
	return next(ctx, req)
}

// join gets a certificate, serves the office and adds it to the hub.
func (o *office) join(t *testing.T, h *hub, id string) {
	t.Helper()
	certs := filepath.Join(t.TempDir(), "certs")
	h.cli("platform", "cert", id, "--out", certs).must(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- sdk.Serve(ctx, sdk.Config{
			PlatformID: id, Listener: l, DrainTimeout: time.Second, Interceptors: []grpc.UnaryServerInterceptor{o.closedDoor},
			CertFile: filepath.Join(certs, "cert.pem"), KeyFile: filepath.Join(certs, "key.pem"), CAFile: filepath.Join(certs, "ca.pem"),
		}, o)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("connector: %v", err)
		}
	})
	r := h.cli("platform", "add", id, "--address", l.Addr().String(), "--name", "公署", "--category", "实用工具").must(t)
	if r.stderr != "" {
		t.Fatalf("platform add: %s", r.stderr)
	}
}

// TestNextHolder gives a number to somebody else: the first holder's lookups
// and orders are not there for the second, and an order that still waits is
// taken back.
func TestNextHolder(t *testing.T) {
	t.Parallel()
	const number, suffixA, suffixB = "13900001234", "011234", "229876"
	accounts := write(t, "accounts.csv", "platform_id,phone_number,product,bound_at,id_suffix\nmall,"+number+",账号,2015-01-01,\n")
	holders := write(t, "holders.csv", "phone_number,id_suffix,holder_since\n"+number+","+suffixA+",2020-01-01\n")
	data := filepath.Join(t.TempDir(), "data")
	h := startDev(t, data, "--accounts", accounts, "--holders", holders)
	o := new(office)
	o.join(t, h, "office")

	a := h.verified(number, suffixA)
	lookup := a.lookUp("mall", "office")
	orders := a.order(lookup.LookupID, "a", "mall", "office")
	done := a.awaitOrder(orders["mall"].UnbindID, soon(), "UNBIND_STATE_COMPLETED")
	waiting := a.awaitRetry(orders["office"].UnbindID)

	// B has the number from now on; the platform takes orders again.
	since := time.Now().Add(-time.Second).Format(time.RFC3339)
	h.stop()
	o.open.Store(true)
	h = startDev(t, data, "--holders", write(t, "next.csv", "phone_number,id_suffix,holder_since\n"+number+","+suffixB+","+since+"\n"))
	a = a.at(h)
	b := h.verified(number, suffixB)
	for _, id := range []string{waiting.UnbindID, done.UnbindID} {
		wantError(t, b.get("/v1/unbinds/"+id), 404, "UNBIND_NOT_FOUND")
		wantError(t, b.post("/v1/unbinds/"+id+":cancel", nil), 404, "UNBIND_NOT_FOUND")
	}
	wantError(t, b.get("/v1/lookups/"+lookup.LookupID), 404, "LOOKUP_NOT_FOUND")
	wantError(t, b.get("/v1/lookups/"+lookup.LookupID+":watch"), 404, "LOOKUP_NOT_FOUND")
	order := map[string]any{"lookupId": lookup.LookupID, "platformIds": []string{"mall"}, "requestId": "a"}
	wantError(t, b.post("/v1/unbinds", order), 404, "LOOKUP_NOT_FOUND")
	if list := want[ordersBody](t, b.get("/v1/unbinds")); len(list.Unbinds) != 0 {
		t.Errorf("the next holder's orders: %+v", list)
	}
	order["requestId"] = "b"
	wantError(t, a.post("/v1/unbinds", order), 401, "SESSION_INVALID")
	wantError(t, a.post("/v1/lookups", map[string]any{}), 401, "SESSION_INVALID")

	end := a.awaitOrder(waiting.UnbindID, soon(), "UNBIND_STATE_CANCELLED", "UNBIND_STATE_COMPLETED")
	if last := end.History[len(end.History)-1]; last.State != "UNBIND_STATE_CANCELLED" || last.Reason != "HOLDER_CHANGED" {
		t.Errorf("the first holder's waiting order: %+v", end)
	}
	if n := o.unbound.Load(); n != 0 {
		t.Errorf("%d orders of the first holder were carried out", n)
	}
}

// awaitRetry waits until an order has failed once and is queued again.
func (p person) awaitRetry(id string) orderBody {
	t := p.hub.t
	t.Helper()
	for end := soon(); ; {
		o := want[orderBody](t, p.get("/v1/unbinds/"+id+"?wait=0.2s"))
		last := o.History[len(o.History)-1]
		if o.State == "UNBIND_STATE_QUEUED" && last.Attempt > 0 {
			return o
		}
		if time.Now().After(end) {
			t.Fatalf("no attempt failed: %+v", o)
		}
	}
}
