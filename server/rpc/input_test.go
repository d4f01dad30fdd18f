package rpc_test

import (
	"fmt"
	"math"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	"github.com/tongcha/tongcha/server/platform"
)

// Without a request id, which a lookup may do without, no two requests are one;
// an unbind needs one.
func TestEmptyRequestIDs(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		p := w.person()
		first, err := p.create([]string{"shop"}, "")
		w.must(err)
		second, err := p.create([]string{"shop"}, "")
		if err != nil || second.GetLookupId() == first.GetLookupId() {
			w.Errorf("%v %v", second, err)
		}
		for _, id := range []string{"", " ", "\t", "\u200b", "\x00"} {
			_, err := p.unbind(first.GetLookupId(), id, "shop")
			w.wants(fmt.Sprintf("%q", id), err, "REQUEST_ID_INVALID", "requestId")
		}
		if list, err := p.list(0, ""); err != nil || len(list.GetUnbinds()) != 0 {
			w.Errorf("%v %v", list, err)
		}
	})
}

// A count of any size, of its type or beyond it, is a page of at most the limit
// and of at least one row.
func TestCounts(t *testing.T) {
	more := func(s *settings) {
		for i := range 600 {
			s.more = append(s.more, platform.ID(fmt.Sprintf("p%04d", i)))
		}
	}
	inWorld(t, more, func(w *world) {
		client := hubv1.NewCatalogueServiceClient(w.gateway)
		for size, want := range map[int32]int{math.MinInt32: 200, -1: 200, 0: 200, 1: 1, 500: 500, 501: 500, math.MaxInt32: 500} {
			page, err := client.ListPlatforms(w.Context(), &hubv1.ListPlatformsRequest{PageSize: size})
			if err != nil || len(page.GetPlatforms()) != want || page.NextPageToken == nil {
				w.Errorf("%d: %d rows, %v", size, len(page.GetPlatforms()), err)
			}
		}
		const pageSize = 1 // field number
		for size, want := range map[uint64]int{1 << 63: 200, 1<<64 - 1: 200, 1<<32 + 1: 1, 1 << 31: 200} {
			b := protowire.AppendVarint(protowire.AppendTag(nil, pageSize, protowire.VarintType), size)
			var page hubv1.ListPlatformsResponse
			err := w.gateway.Invoke(w.Context(), hubv1.CatalogueService_ListPlatforms_FullMethodName, b, &page, grpc.ForceCodec(raw{}))
			if err != nil || len(page.GetPlatforms()) != want {
				w.Errorf("%d: %d rows, %v", size, len(page.GetPlatforms()), err)
			}
		}
	})
}
