package gateway

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
)

// always is a hub that has the same answer for every lookup.
type always struct {
	grpc.ClientConnInterface
	lookup *hubv1.Lookup
}

func (a always) Invoke(_ context.Context, _ string, _, out any, _ ...grpc.CallOption) error {
	out.(*hubv1.GetLookupResponse).Lookup = a.lookup
	return nil
}

// BenchmarkGetLookup is what the gateway itself costs a request: routing, checks,
// grpc-gateway and the text of 32 rows, but no socket and no handler; with
// grpc-gateway's own marshaler, and with ours. x-stock is how many times faster
// ours is.
func BenchmarkGetLookup(b *testing.B) {
	var stock float64
	b.Run("stock", func(b *testing.B) {
		getLookups(b, &runtime.JSONPb{MarshalOptions: marshal})
		stock = perOp(b)
	})
	b.Run("ours", func(b *testing.B) {
		getLookups(b, newCodec())
		b.ReportMetric(stock/perOp(b), "x-stock")
	})
}

func perOp(b *testing.B) float64 { return float64(b.Elapsed()) / float64(b.N) }

func getLookups(b *testing.B, m runtime.Marshaler) {
	h, err := newHandler(b.Context(), Options{Conn: always{lookup: ordinary(32)}, Status: statusOf}, defaultPatience, m)
	if err != nil {
		b.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "/v1/lookups/01ARZ3NDEKTSV4RRFFQ69G5FAV?wait=10s&sinceRevision=7", nil)
	r.Header.Set("Authorization", "Bearer 0123456789012345678901234567890123456789012")
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			b.Fatal(w.Code, w.Body)
		}
	}
}
