package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tongcha/tongcha/server/admin"
	"github.com/tongcha/tongcha/server/calendar"
	"github.com/tongcha/tongcha/server/clock"
)

// pulse is what a hub notes of itself for its operator. What is no pointer and
// not atomic is set before the hub serves.
type pulse struct {
	started     time.Time
	calendarEnd time.Time
	leaf        *atomic.Pointer[tls.Certificate] // of this run
	addresses   atomic.Pointer[Addresses]
	httpLeaf    atomic.Pointer[x509.Certificate]

	flushed, swept atomic.Int64 // Unix nanoseconds; 0 for never
	abandonedSeen  int64        // of the sweeper alone; 0 before its first look
	looked         bool         // of the sweeper alone
	abandonedAt    atomic.Int64 // when the count was last seen to grow
}

func (p *pulse) at(a Addresses) { p.addresses.Store(&a) }

func (p *pulse) http(leaf *x509.Certificate) { p.httpLeaf.Store(leaf) }

// since turns noted nanoseconds into a time.
func since(n *atomic.Int64) time.Time {
	if v := n.Load(); v != 0 {
		return time.Unix(0, v)
	}
	return time.Time{}
}

// warnBehind says that the hub's time is ahead of the machine's from the start.
func (h *Hub) warnBehind() {
	if off := h.clock.Off(); off < -clock.Tolerance {
		h.cfg.Logger.Warn("the machine's clock is behind the last time the hub noted; the hub goes on from that, so that nothing that is over comes back", "behind", (-off).Round(time.Second).String())
	}
}

// noteAbandoned notes when orders were given up. What happened before the first
// look is old news.
func (h *Hub) noteAbandoned(ctx context.Context) error {
	counts, err := h.store.OrderCounts(ctx, h.clock.Now())
	if err != nil {
		return err
	}
	var n int64
	for _, o := range counts {
		n += o.Abandoned
	}
	if h.pulse.looked && n > h.pulse.abandonedSeen {
		h.pulse.abandonedAt.Store(h.clock.Now().UnixNano())
	}
	h.pulse.abandonedSeen, h.pulse.looked = n, true
	return nil
}

// certificates lists those the hub shows or signs with.
func (h *Hub) certificates() []admin.Certificate {
	out := []admin.Certificate{
		{Name: "hub", Expire: h.pulse.leaf.Load().Leaf.NotAfter},
		{Name: "authority", Expire: h.authority.Expire()},
	}
	if leaf := h.pulse.httpLeaf.Load(); leaf != nil {
		out = append(out, admin.Certificate{Name: "http", Expire: leaf.NotAfter})
	}
	return out
}

// databaseSize is the size of the database's file in bytes; 0 where it can't be
// told.
func (h *Hub) databaseSize() int64 {
	info, err := os.Stat(filepath.Join(h.cfg.Data, databaseFile))
	if err != nil {
		return 0
	}
	return info.Size()
}

// freeSize is what is free for the hub's user where the data folder lies.
func (h *Hub) freeSize() int64 { return freeSize(h.cfg.Data) }

// freeSize is what is free for this user where a folder lies, in bytes; -1 where it
// can't be told.
func freeSize(folder string) int64 {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(folder, &fs); err != nil {
		return -1
	}
	return int64(fs.Bavail) * int64(fs.Bsize)
}

// calendarEnd is the end of the last year in a row, from now's on, whose holidays
// are known; the end of the year before where now's are not.
func calendarEnd(c *calendar.Calendar, now time.Time) time.Time {
	shanghai := time.FixedZone("Asia/Shanghai", 8*60*60)
	year := now.In(shanghai).Year()
	for c.Covers(year) {
		year++
	}
	return time.Date(year, time.January, 1, 0, 0, 0, 0, shanghai)
}
