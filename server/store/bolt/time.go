package bolt

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
	"github.com/tongcha/tongcha/server/store/bolt/group"
)

// noteEvery is how old the noted time may be where codes are sent and taken; in
// between it costs no write.
const noteEvery = time.Second

// noteTime notes the hub's time with what is written anyway: with every code that
// is sent or tried, and with every sweep. So after a crash nothing about codes and
// sessions is from the future, and the hub's time goes back by less than what lies
// between two sweeps, whatever the machine's clock says.
func (s *Store) noteTime(tx *group.Tx) error {
	if s.clock == nil {
		return nil
	}
	m := new(recordv1.Meta)
	if _, err := load(tx, bucketMeta, metaKey, m); err != nil {
		return err
	}
	now := s.clock.Now()
	if now.Sub(moment(m.GetLargestTime())) < noteEvery {
		return nil
	}
	m.LargestTime = timestamppb.New(now)
	return save(tx, bucketMeta, metaKey, m)
}

// noteLast notes the time at the end. A file that is broken keeps that of the last
// sweep.
func (s *Store) noteLast() {
	_ = s.db.Update(context.Background(), s.noteTime)
}
