package server

import (
	"log/slog"
	"sync"
	"time"
)

// statEvery is how old the word of the file system may be. It costs microseconds,
// and within it no hub writes more than a small part of any sensible MinFree.
const statEvery = 100 * time.Millisecond

// storage says whether the data folder's file system has room for new work. New
// work grows the database for good; what is owed already hardly does, and has the
// reserve that the store keeps within its file.
type storage struct {
	free func() int64 // bytes; -1 where it can't be told
	need int64        // bytes that must be free
	log  *slog.Logger

	mu    sync.Mutex
	asked time.Time
	low   bool
}

// full reports whether new work has to be refused. Once it has, an eighth more than
// the need must be free before it is taken again, so that the two don't alternate
// with every record. Where nobody can tell, there is room.
func (s *storage) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !s.asked.IsZero() && now.Sub(s.asked) < statEvery {
		return s.low
	}
	s.asked = now
	need := s.need
	if s.low {
		need += need / 8
	}
	free := s.free()
	low := free >= 0 && free < need
	if low != s.low {
		s.low = low
		s.tell(free)
	}
	return low
}

func (s *storage) tell(free int64) {
	if s.low {
		s.log.Error("storage full: new work is refused until there is room", "free_mib", free>>20, "min_free_mib", s.need>>20)
		return
	}
	s.log.Info("storage has room again", "free_mib", free>>20)
}
