package unbind_test

import (
	"context"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

// slowQueue takes a while to look.
type slowQueue struct{ unbind.Queue }

// Claim implements unbind.Queue.
func (q slowQueue) Claim(ctx context.Context, r unbind.ClaimRequest) ([]unbind.Claim, time.Time, error) {
	claims, next, err := q.Queue.Claim(ctx, r)
	time.Sleep(30 * time.Millisecond)
	return claims, next, err
}

// TestTokenDuringAClaim: what a platform's rate allows only once the queue was
// asked is not left until the dispatcher happens to look again.
func TestTokenDuringAClaim(t *testing.T) {
	shop := &peer{id: "shop", unbind: says(platform.StageCompleted)}
	inHub(t, func(h *hub) {
		h.stop()
		h.options.PerSecond = 25
		h.newService(slowQueue{h.store})
		h.run()
		const n = 40
		h.placeMany("crowd", n, "shop")
		time.Sleep(20 * time.Second)
		if sent, _ := shop.calls(); len(sent) != n {
			h.Errorf("%d of %d orders were sent in 20 s", len(sent), n)
		}
	}, shop)
}
