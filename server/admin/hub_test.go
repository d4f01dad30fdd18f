package admin_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
	"github.com/tongcha/tongcha/server/admin"
	"github.com/tongcha/tongcha/server/fault"
)

// fakeHub is a hub that can also be one that stops, or can't say how it is.
type fakeHub struct {
	drained  bool
	stopping bool
	broken   error
}

func (h *fakeHub) Status(context.Context) (admin.HubStatus, error) {
	s := admin.HubStatus{
		Version: "v1.2.3", State: "SERVING", StartTime: time.Unix(1, 0), HTTP: "h:1", GRPC: "g:2", Metrics: "m:3",
		Platforms: admin.PlatformCounts{Catalogued: 4, Joined: 3, Serving: 2, Suspended: 1},
		Lookups:   5, Requests: 6, Attempts: 7, Open: 8, Overdue: 9, Abandoned: 10, DatabaseSize: 11, FreeSize: 12,
		Certificates: []admin.Certificate{{Name: "hub", Expire: time.Unix(13, 0)}},
		Flushed:      time.Unix(14, 0), CalendarEnd: time.Unix(16, 0),
		Findings: []admin.Finding{{Code: "C", Text: "t", Action: "a"}},
	}
	if h.drained {
		s.State = "DRAINED"
	}
	return s, h.broken
}

func (h *fakeHub) Drain() { h.drained = true }

func (h *fakeHub) Undrain() error {
	if h.stopping {
		return fault.ShuttingDown.New()
	}
	h.drained = false
	return nil
}

func (d *desk) hubClient() adminv1.HubServiceClient {
	conn, err := dial(d.path)
	d.must(err)
	d.Cleanup(func() { _ = conn.Close() })
	return adminv1.NewHubServiceClient(conn)
}

// TestHubStatus: every figure arrives where it belongs.
func TestHubStatus(t *testing.T) {
	hub := new(fakeHub)
	d := newDesk(t, func(d *desk) { d.hub = hub })
	c := d.hubClient()
	resp, err := c.GetStatus(t.Context(), &adminv1.GetStatusRequest{})
	d.must(err)
	s := resp.GetStatus()
	for what, ok := range map[string]bool{
		"texts":     s.GetVersion() == "v1.2.3" && s.GetState() == "SERVING" && s.GetHttpAddress() == "h:1" && s.GetGrpcAddress() == "g:2" && s.GetMetricsAddress() == "m:3",
		"platforms": s.GetPlatformsCatalogued() == 4 && s.GetPlatformsJoined() == 3 && s.GetPlatformsServing() == 2 && s.GetPlatformsSuspended() == 1,
		"under way": s.GetLookupsRunning() == 5 && s.GetRequestsUnderWay() == 6 && s.GetAttemptsUnderWay() == 7,
		"orders":    s.GetOrdersOpen() == 8 && s.GetOrdersOverdue() == 9 && s.GetOrdersAbandoned() == 10,
		"sizes":     s.GetDatabaseBytes() == 11 && s.GetFreeBytes() == 12,
		"times":     s.GetStartTime().GetSeconds() == 1 && s.GetFlushTime().GetSeconds() == 14 && s.GetSweepTime() == nil && s.GetCalendarEndTime().GetSeconds() == 16,
		"lists": len(s.GetCertificates()) == 1 && s.GetCertificates()[0].GetName() == "hub" && s.GetCertificates()[0].GetExpireTime().GetSeconds() == 13 &&
			len(s.GetFindings()) == 1 && s.GetFindings()[0].GetCode() == "C" && s.GetFindings()[0].GetText() == "t" && s.GetFindings()[0].GetAction() == "a",
	} {
		if !ok {
			t.Errorf("%s: %v", what, s)
		}
	}
}

func TestHubDrain(t *testing.T) {
	hub := new(fakeHub)
	d := newDesk(t, func(d *desk) { d.hub = hub })
	c := d.hubClient()
	for range 2 {
		resp, err := c.Drain(t.Context(), &adminv1.DrainRequest{})
		if err != nil || resp.GetStatus().GetState() != "DRAINED" {
			t.Errorf("drained: %v %v", resp, err)
		}
	}
	for range 2 {
		resp, err := c.Undrain(t.Context(), &adminv1.UndrainRequest{})
		if err != nil || resp.GetStatus().GetState() != "SERVING" {
			t.Errorf("taken back: %v %v", resp, err)
		}
	}
	hub.stopping = true
	_, err := c.Undrain(t.Context(), &adminv1.UndrainRequest{})
	d.wants("taken back while stopping", err, fault.ShuttingDown, "")
	hub.broken = errors.New("no figures")
	_, err = c.GetStatus(t.Context(), &adminv1.GetStatusRequest{})
	d.wants("a status that can't be had", err, fault.InternalError, "")
}

// TestNoHub: without a hub the service is not there, and the others are.
func TestNoHub(t *testing.T) {
	d := newDesk(t)
	_, err := d.hubClient().GetStatus(t.Context(), &adminv1.GetStatusRequest{})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("%v", err)
	}
}
