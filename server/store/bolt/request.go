package bolt

import (
	"bytes"
	"time"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/store/bolt/group"
)

// requestLife is how long a request id makes a repeat answer alike.
const requestLife = 24 * time.Hour

// repeated returns what the same request made before, or nil. The zero key is no
// request id.
func repeated(tx *group.Tx, k, body [32]byte, now time.Time) (*recordv1.Request, error) {
	if k == ([32]byte{}) {
		return nil, nil
	}
	r := new(recordv1.Request)
	found, err := load(tx, bucketRequests, k[:], r)
	if err != nil || !found || !moment(r.GetExpireTime()).After(now) {
		return nil, err
	}
	if !bytes.Equal(r.GetBodyDigest(), body[:]) {
		return nil, fault.RequestIDReused.On("requestId")
	}
	return r, nil
}

// remember records what a request made.
func remember(tx *group.Tx, k [32]byte, now time.Time, r *recordv1.Request) error {
	if k == ([32]byte{}) {
		return nil
	}
	end := now.Add(requestLife)
	r.ExpireTime = stamp(end)
	if err := expires(tx, end, bucketRequests, k[:]); err != nil {
		return err
	}
	return save(tx, bucketRequests, k[:], r)
}
