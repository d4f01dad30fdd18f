package server

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tongcha/tongcha/server/admin"
	"github.com/tongcha/tongcha/server/clock"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/unbind"
)

// From where on a figure needs a look. docs/operations.md and the alerts use the
// same.
const (
	settleTime    = time.Minute // platforms are given to be heard of after a start
	leafWarning   = 14 * 24 * time.Hour
	caWarning     = 180 * 24 * time.Hour
	freeWarning   = 1 << 30 // bytes
	flushWarning  = 5 * time.Minute
	sweepWarning  = 15 * time.Minute
	abandonedNews = 24 * time.Hour
	namedAtMost   = 5 // platforms of one finding
)

// Status says how the hub is. It implements admin.Hub.
func (h *Hub) Status(ctx context.Context) (admin.HubStatus, error) {
	now := h.clock.Now()
	counts, err := h.store.OrderCounts(ctx, now)
	if err != nil {
		return admin.HubStatus{}, fmt.Errorf("count orders: %w", err)
	}
	s := admin.HubStatus{
		Version: h.cfg.Version, StartTime: h.pulse.started,
		Requests: h.rpc.NewWork(), Lookups: h.lookups.Running(), Attempts: h.dispatch.UnderWay(),
		Certificates: h.certificates(), DatabaseSize: h.databaseSize(), FreeSize: h.freeSize(),
		Pauses: h.pauses.All(), ClockOff: h.clock.Off(), ClockJump: h.clock.Jump(),
		Flushed: since(&h.pulse.flushed), Swept: since(&h.pulse.swept), CalendarEnd: h.pulse.calendarEnd,
	}
	if a := h.pulse.addresses.Load(); a != nil {
		s.HTTP, s.GRPC, s.Metrics = a.HTTP, a.GRPC, a.Metrics
	}
	for _, o := range counts {
		s.Open, s.Overdue, s.Abandoned = s.Open+o.Open(), s.Overdue+o.Overdue, s.Abandoned+o.Abandoned
	}
	var absent []string
	s.Platforms, absent = countPlatforms(h.catalogue.All())
	s.State = h.state(s.Requests + s.Lookups + s.Attempts)
	s.Findings = h.findings(s, absent, now)
	return s, nil
}

// state names what the hub does; busy is how much is under way.
func (h *Hub) state(busy int) string {
	on, closed := h.draining()
	switch {
	case !h.ready.Load():
		return "STOPPING"
	case closed && busy == 0:
		return "DRAINED"
	case on:
		return "DRAINING"
	}
	return "SERVING"
}

// countPlatforms counts, and lists the ids of those that should serve and do not.
func countPlatforms(all []platform.Info) (n admin.PlatformCounts, absent []string) {
	for _, i := range all {
		n.Catalogued++
		if i.Address == "" {
			continue
		}
		n.Joined++
		switch {
		case i.Suspended:
			n.Suspended++
		case i.Health == platform.HealthServing && !i.Unfit:
			n.Serving++
		default:
			absent = append(absent, string(i.ID))
		}
	}
	return n, absent
}

// findings lists what needs a look, the most urgent first.
func (h *Hub) findings(s admin.HubStatus, absent []string, now time.Time) []admin.Finding {
	var out []admin.Finding
	note := func(code, action, format string, args ...any) {
		out = append(out, admin.Finding{Code: code, Text: fmt.Sprintf(format, args...), Action: action})
	}
	switch s.State {
	case "STOPPING":
		note("STOPPING", "start the hub again once it has ended", "the hub is stopping")
	case "DRAINING", "DRAINED":
		note("DRAINED", "stop the hub, or take new work again: tongcha drain --undo", "the hub takes no new work")
	}
	if s.FreeSize >= 0 && s.FreeSize < h.cfg.MinFree {
		note("STORAGE_FULL", "make room, without removing a file of the data folder; new work is then taken by itself",
			"new verifications, lookups and orders are refused: %d MiB are free, %d must be (--min-free)", s.FreeSize>>20, h.cfg.MinFree>>20)
	}
	if s.FreeSize >= 0 && s.FreeSize < freeWarning {
		note("DISK_FILLING", "make room: a hub that can't write stops", "%d MiB are free where the data folder lies", s.FreeSize>>20)
	}
	for _, c := range s.Certificates {
		if left := c.Expire.Sub(now.Add(s.ClockOff)); left < warningOf(c.Name) {
			note("CERTIFICATE_EXPIRING", renewal(c.Name), "the %s certificate ends in %d days", c.Name, max(int(left.Hours()/24), 0))
		}
	}
	if finding, ok := clockFinding(s); ok {
		out = append(out, finding)
	}
	if finding, ok := pauseFinding(s.Pauses); ok {
		out = append(out, finding)
	}
	if s.Overdue > 0 {
		note("ORDERS_OVERDUE", "see which platform: tongcha queue stats, then tongcha platform show ID", "%d orders are past their due time", s.Overdue)
	}
	if at := since(&h.pulse.abandonedAt); !at.IsZero() && now.Sub(at) < abandonedNews {
		note("ORDERS_ABANDONED", "see why: tongcha unbind list --state ABANDONED, then tongcha unbind show ORDER; send them again, or put them aside: tongcha dlq --help", "orders were given up in the last 24 hours")
	}
	if len(absent) > 0 && now.Sub(s.StartTime) > settleTime {
		note("PLATFORMS_NOT_SERVING", "see why: tongcha platform show ID", "platforms that do not serve, %d of %d: %s",
			len(absent), s.Platforms.Joined-s.Platforms.Suspended, someOf(absent))
	}
	if s.CalendarEnd.Before(now.AddDate(0, 1, 0)) {
		note("CALENDAR_ENDS", "give a --calendar file with the next year's holidays, or a newer program", "holidays are known only until %s", s.CalendarEnd.Format(time.DateOnly))
	}
	if late(s.Flushed, s.StartTime, now, flushWarning) || late(s.Swept, s.StartTime, now, sweepWarning) {
		note("HOUSEKEEPING_FAILED", "look for \"housekeeping failed\" in the log", "figures were not written, or what is over was not removed, for some time")
	}
	return out
}

// pauseFinding is about a queue that an operator paused: it is easily forgotten,
// and lasts over restarts.
func pauseFinding(pauses []unbind.Pause) (f admin.Finding, ok bool) {
	if len(pauses) == 0 {
		return f, false
	}
	f = admin.Finding{Code: "QUEUE_PAUSED", Action: "see since when and why: tongcha queue stats; go on: tongcha queue resume"}
	var some []string
	for _, p := range pauses {
		if p.Platform == "" {
			f.Text = "no orders are sent: the queue is paused"
			return f, true
		}
		some = append(some, string(p.Platform))
	}
	f.Action += " --platform ID"
	f.Text = "orders of platforms that are paused are not sent: " + someOf(some)
	return f, true
}

// clockFinding is about a machine's clock that is not the hub's: it was set since
// the start, or it was behind at the start and still is.
func clockFinding(s admin.HubStatus) (f admin.Finding, ok bool) {
	apart := s.ClockOff.Abs().Round(time.Second)
	switch {
	case s.ClockOff.Abs() <= clock.Tolerance:
		return f, false
	case s.ClockJump.Abs() <= clock.Tolerance:
		return admin.Finding{
			Code: "CLOCK_BEHIND", Text: fmt.Sprintf("the machine's clock is %s behind the last time the hub had noted when it started; the hub goes on from that", apart),
			Action: "see whether the clock is right: timedatectl; a hub that is ahead goes on being so until the true time has caught up",
		}, true
	}
	way := "ahead of"
	if s.ClockOff < 0 {
		way = "behind"
	}
	return admin.Finding{
		Code: "CLOCK_JUMPED", Text: fmt.Sprintf("the machine's clock was set, and is %s %s the hub's, which does not follow", apart, way),
		Action: "see whether the clock is right: timedatectl; once it is, start the hub again, which then takes a time that is ahead of its own",
	}, true
}

// late reports whether something that comes again and again has not for d.
func late(last, started, now time.Time, d time.Duration) bool {
	if last.IsZero() {
		last = started
	}
	return now.Sub(last) > d
}

func warningOf(certificate string) time.Duration {
	if certificate == "authority" {
		return caWarning
	}
	return leafWarning
}

func renewal(certificate string) string {
	switch certificate {
	case "authority":
		return "plan a new authority: every peer needs its certificate and a new one of its own"
	case "http":
		return "replace the files of --http-cert and --http-key, and start the hub again"
	}
	return "look for \"hub certificate not renewed\" in the log"
}

func someOf(ids []string) string {
	if len(ids) > namedAtMost {
		return strings.Join(ids[:namedAtMost], ", ") + " …"
	}
	return strings.Join(ids, ", ")
}
