package link

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server/platform"
)

const (
	probeWithin = 5 * time.Second
	firstPause  = time.Second // grows to half of ProbeEvery until the next success
	maxProducts = 32
	maxName     = 64 // characters of a name
	mostBatch   = 256
)

// probe asks for a description now and then again, until the remote closes. It
// is the liveness check: a unary call crosses proxies and tells that the
// connector works, which a ping doesn't.
func (r *remote) probe() {
	pause := firstPause
	var p pulse
	for r.ctx.Err() == nil {
		probed := r.trouble.conn.Load()
		wait := r.opts.ProbeEvery
		if r.describe() {
			probed = r.trouble.conn.Load() // which the call may have brought about
			pause = firstPause
			p.beats(probed)
		} else {
			if now := r.trouble.conn.Load(); p.stalled(now, time.Now()) {
				_ = now.Close() // gRPC ends its calls and connects anew
			}
			most := wait / 2
			if p.brief > 0 {
				most = wait
			}
			wait, pause = min(pause, wait), min(2*pause, max(most, firstPause))
		}
		r.rest(wait, probed, p.brief)
	}
}

// rest waits for d, or until there is something to find out sooner: the connection
// failed, or one is ready that is another than probed. It has the peer connected
// to. After connections that did not last it lets some time pass first, so that a
// peer that ends each one is not probed as fast as it can be connected to.
func (r *remote) rest(d time.Duration, probed *heard, brief int) {
	ctx, cancel := context.WithTimeout(r.ctx, d)
	defer cancel()
	if brief > 0 {
		pauseFor(ctx, firstPause<<min(brief-1, 10))
	}
	for ctx.Err() == nil {
		state := r.conn.GetState()
		switch {
		case state == connectivity.Ready && r.trouble.conn.Load() != probed,
			state == connectivity.TransientFailure && r.Info().Health == platform.HealthServing:
			return
		case state == connectivity.Idle:
			r.conn.Connect()
		}
		if !r.conn.WaitForStateChange(ctx, state) {
			return
		}
	}
}

// pulse is what probes tell of connections.
type pulse struct {
	conn  *heard    // the last one
	count uint64    // of what came in on it
	since time.Time // when that was noted; zero before the first failure
	brief int       // connections in a row that did not see a second probe answered
}

// beats notes a probe that was answered on conn.
func (p *pulse) beats(conn *heard) {
	if conn == p.conn {
		*p = pulse{conn: conn}
	} else {
		*p = pulse{conn: conn, brief: p.brief + 1}
	}
}

// stalled notes a probe that failed and reports whether its connection is dead,
// although it looks open: while probes fail, nothing at all came in on it for as
// long as the longest call takes. On Linux the kernel ends a connection whose data
// nobody confirms; what is left is a proxy that confirms and has lost the
// connector.
func (p *pulse) stalled(conn *heard, now time.Time) bool {
	switch count := conn.count(); {
	case conn == nil:
	case conn != p.conn:
		*p = pulse{conn, count, now, p.brief + 1}
	case count != p.count || p.since.IsZero():
		p.count, p.since = count, now
	default:
		return now.Sub(p.since) > callWithin
	}
	return false
}

// pauseFor waits for d, or until ctx ends.
func pauseFor(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// describe asks once, keeps the result and reports whether the platform serves.
func (r *remote) describe() bool {
	ctx, cancel := context.WithTimeout(r.ctx, probeWithin)
	defer cancel()
	resp, err := r.client.Describe(ctx, &connectorv1.DescribeRequest{})
	if r.ctx.Err() != nil {
		return false
	}
	if err != nil {
		r.unwell(r.probeProblem(err), r.Info().Unfit)
		return false
	}
	if problem := descriptionProblem(resp, r.Info().ID); problem != "" {
		r.unwell(problem, true)
		return false
	}
	r.described(resp)
	return true
}

func (r *remote) unwell(problem string, unfit bool) {
	before := r.Info()
	r.change(func(i *platform.Info) { i.Health, i.Problem, i.Unfit = platform.HealthNotServing, problem, unfit })
	if before.Health != platform.HealthNotServing || before.Problem != problem {
		r.log.Warn("platform is not serving", "problem", problem)
	}
}

// described takes a sound description over. Where the catalogue has a name or a
// page, the catalogue wins.
func (r *remote) described(d *connectorv1.DescribeResponse) {
	before := r.Info()
	r.change(func(i *platform.Info) {
		i.Functions = functionsOf(d.GetFunctions())
		i.UnbindMode, _ = modeOf(d.GetUnbindMode())
		i.MaxBatch = min(max(int(d.GetMaxBatch()), 1), mostBatch)
		i.Streams = d.GetStreamBindings()
		i.Products = productsOf(d.GetProducts())
		i.DisplayName = cmp.Or(r.entry.DisplayName, platform.CleanText(d.GetDisplayName(), maxName))
		i.SelfServiceURL = cmp.Or(r.entry.SelfServiceURL, pageOrNone(d.GetSelfServiceUrl()))
		i.Health, i.Problem, i.Unfit, i.LastSeen = platform.HealthServing, "", false, time.Now()
	})
	r.badStarts.Store(0)
	r.queue.wake() // there may be another way to go, or more batches may be open
	if before.Health != platform.HealthServing {
		r.queue.serves()
		r.log.Info("platform is serving")
		if r.opts.OnServing != nil {
			r.opts.OnServing(before.ID)
		}
	}
	now := r.Info().Functions
	if first := before.LastSeen.IsZero(); r.opts.OnDescribe != nil && (first || now != before.Functions) {
		r.opts.OnDescribe(before.ID, now)
	}
}

// probeProblem says why a probe failed, in our own words.
func (r *remote) probeProblem(err error) string {
	if breach(err) {
		return "its description is too large or no protobuf message"
	}
	code := status.Code(err)
	switch code {
	case codes.Unavailable, codes.DeadlineExceeded:
		if t := r.trouble.text(); t != "" {
			return t
		}
		if code == codes.DeadlineExceeded {
			return "it does not answer Describe in time"
		}
		return "it is unavailable or closes the connection; it may not accept the hub's certificate"
	case codes.Unauthenticated, codes.PermissionDenied:
		return "it refuses the hub"
	case codes.Unimplemented:
		return "it does not implement Describe"
	}
	return "Describe fails with " + codeName(code)
}

var majorOne = regexp.MustCompile(`^1\.\d{1,4}$`)

// descriptionProblem says what is wrong with a description; empty for nothing.
func descriptionProblem(d *connectorv1.DescribeResponse, id platform.ID) string {
	functions := functionsOf(d.GetFunctions())
	_, known := modeOf(d.GetUnbindMode())
	switch {
	case d.GetPlatformId() != string(id):
		return "it describes itself as another platform"
	case !majorOne.MatchString(d.GetProtocolVersion()):
		return "it speaks another protocol version than 1"
	case functions == 0:
		return "it offers no function"
	case functions.Has(platform.FunctionUnbind) && !known:
		return "it offers UNBIND without an unbind mode"
	}
	return ""
}

// functionsOf skips functions that this hub doesn't know: a later minor version
// may have more.
func functionsOf(list []connectorv1.Function) platform.Functions {
	var f platform.Functions
	for _, one := range list {
		switch one {
		case connectorv1.Function_FUNCTION_LOOKUP:
			f |= platform.FunctionLookup
		case connectorv1.Function_FUNCTION_UNBIND:
			f |= platform.FunctionUnbind
		case connectorv1.Function_FUNCTION_NUMBER_EVENTS:
			f |= platform.FunctionNumberEvents
		}
	}
	return f
}

func modeOf(m connectorv1.UnbindMode) (platform.UnbindMode, bool) {
	mode := platform.UnbindMode(strings.TrimPrefix(m.String(), "UNBIND_MODE_"))
	if !slices.Contains([]platform.UnbindMode{platform.ModeSync, platform.ModeAsync, platform.ModeRedirect}, mode) {
		return "", false
	}
	return mode, true
}

func pageOrNone(s string) string {
	if !platform.IsPageURL(s) {
		return ""
	}
	return s
}

func productsOf(list []string) []string {
	var out []string
	for _, p := range list[:min(len(list), maxProducts)] {
		if p = platform.CleanText(p, maxName); p != "" {
			out = append(out, p)
		}
	}
	return out
}
