package link_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
	"github.com/tongcha/tongcha/server/link"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
)

// TestModel lets a platform do whatever platforms do, and askers whatever askers
// do, and checks what has to hold in any case. Its seeds are few here; it was run
// over many.
func TestModel(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newModel(t, seed).run() })
		})
	}
}

// model is a platform that behaves at random, and what is asked of it.
type model struct {
	*testing.T
	mu      sync.Mutex
	rnd     *rand.Rand
	mood    mood
	streams bool // it may offer the stream
	unary   bool // it may leave the stream out
	ends    bool // its streams and batches may end early

	got   map[string]int // questions that came, by number
	calls []*modelCall
}

// mood is how a platform is just now.
type mood struct {
	answers, breaks int // of 100 questions, of 100 frames
	slowest         time.Duration
}

type modelCall struct {
	platform.Call
	number string
	asked  time.Time
	told   atomic.Int32
	ended  time.Time
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{T: t, rnd: rand.New(rand.NewPCG(seed, 0)), got: make(map[string]int)} //nolint:gosec // a repeatable choice
	m.streams, m.ends = m.chance(75), m.chance(70)
	m.unary = !m.streams || m.chance(30)
	m.change()
	return m
}

func (m *model) intn(n int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rnd.IntN(n)
}

func (m *model) chance(percent int) bool { return m.intn(100) < percent }

// upTo is a random time, short ones more often than long ones.
func (m *model) upTo(d time.Duration) time.Duration {
	return time.Duration(m.intn(int(d))) / time.Duration(1+m.intn(10))
}

// change changes the mood.
func (m *model) change() {
	next := mood{answers: 98, slowest: 50 * time.Millisecond}
	switch m.intn(4) {
	case 0:
		next.answers, next.slowest = 70, 600*time.Millisecond
	case 1:
		next.answers = 0
	}
	if m.ends {
		next.breaks = []int{0, 0, 1, 5, 60}[m.intn(5)]
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mood = next
}

func (m *model) now() mood {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mood
}

func (m *model) describe() (*connectorv1.DescribeResponse, error) {
	if m.ends && m.chance(10) {
		return nil, status.Error(codes.Unavailable, "")
	}
	d := description()
	d.StreamBindings = m.streams && (!m.unary || m.chance(60))
	d.MaxBatch = []int32{1, 3, 16, 256}[m.intn(4)]
	if !m.unary {
		d.MaxBatch = 256 // so that no frame is too large when it arrives
	}
	return d, nil
}

// came notes questions.
func (m *model) came(s *connectorv1.Subject) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got[s.GetPhoneNumber()]++
}

// say is an answer, mostly a good one, after a while; nil for none.
func (m *model) say(ctx context.Context, s *connectorv1.Subject) *connectorv1.SubjectAnswer {
	now := m.now()
	wait := m.upTo(now.slowest)
	if !m.chance(now.answers) {
		wait = time.Hour
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return nil
	}
	a := bound(s)
	a.Accounts[0].AccountRef = s.GetPhoneNumber()
	switch m.intn(60) {
	case 0:
		return notInTime(s)
	case 1:
		a.SubjectRef = append([]byte{a.GetSubjectRef()[0] + 1}, a.GetSubjectRef()[1:]...)
	case 2:
		a.Accounts = several(51)
	}
	return a
}

func (m *model) lookup(ctx context.Context, r *connectorv1.LookupBindingsRequest) (*connectorv1.LookupBindingsResponse, error) {
	out := &connectorv1.LookupBindingsResponse{}
	for _, s := range r.GetSubjects() {
		m.came(s)
	}
	if m.chance(m.now().breaks) {
		return out, []error{nil, status.Error(codes.Unavailable, "")}[m.intn(2)]
	}
	for _, s := range r.GetSubjects() {
		a := m.say(ctx, s)
		if a == nil {
			a = notInTime(s)
		}
		out.Answers = append(out.Answers, a)
	}
	return out, nil
}

func (m *model) stream(s streamServer) error {
	ctx, cancel := context.WithCancel(s.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	var sending sync.Mutex
	for {
		r, err := s.Recv()
		if err != nil {
			return nil
		}
		for _, it := range r.GetItems() {
			m.came(it.GetSubject())
			all.Go(func() {
				a := m.say(ctx, it.GetSubject())
				sending.Lock()
				defer sending.Unlock()
				if a == nil || ctx.Err() != nil {
					return
				}
				one := &connectorv1.StreamAnswer{ItemId: it.GetItemId(), Answer: a}
				stray := 0
				if m.intn(300) == 0 { // now and then, as a stream that brings many is cut
					stray = 1 + m.intn(2)
				}
				_ = send(s, append(list(one), list(one, new(connectorv1.StreamAnswer))[:stray]...)...)
			})
		}
		if m.chance(m.now().breaks) {
			time.Sleep(m.upTo(20 * time.Millisecond))
			sending.Lock()
			cancel()
			sending.Unlock()
			return []error{nil, status.Error(codes.Unavailable, "")}[m.intn(2)]
		}
	}
}

// run asks for a while and then checks.
func (m *model) run() {
	w := newWorld(m.T)
	s := &streamer{serve: m.stream}
	s.describe, s.lookup = m.describe, m.lookup
	w.connector(s)
	r, p := w.shop(w.timeless, func(o *link.Options) { o.ProbeEvery, o.MaxQueued = 3*time.Second, 200 })
	steps, leaves := 100+m.intn(400), m.chance(30)
	for range steps {
		switch {
		case m.chance(3):
			m.change()
		case leaves && m.chance(1):
			r.Leave("shop")
			m.ask(p)
			if err := r.Join(platform.Entry{ID: "shop", Address: shopAt}); err != nil {
				m.Fatal(err)
			}
			p, _ = r.Get("shop")
		}
		for range 1 + m.intn(2)*m.intn(2)*m.intn(80) {
			m.ask(p)
		}
		time.Sleep(m.upTo(60 * time.Millisecond))
		if m.chance(5) {
			m.checkIdle(r)
		}
	}
	if m.chance(20) {
		r.Close()
		synctest.Wait() // for who takes a question back just now
		m.checkCalls()
	}
	time.Sleep(5 * time.Second)
	synctest.Wait()
	m.checkCalls()
	if l, ok := r.Load("shop"); ok {
		m.checkLoad(l, leaves)
	}
}

// ask asks one question, which may be taken back at any time.
func (m *model) ask(p platform.Platform) {
	n, err := phone.ParseNumber(fmt.Sprintf("+86138%08d", len(m.calls)))
	if err != nil {
		m.Fatal(err)
	}
	c := &modelCall{number: n.E164(), asked: time.Now()}
	c.Number, c.HolderSince = n, c.asked.Add(-time.Hour)
	c.Deadline = c.asked.Add(m.upTo(4*time.Second) - time.Millisecond)
	c.Done = func(*platform.Call) {
		c.told.Add(1)
		c.ended = time.Now()
	}
	m.calls = append(m.calls, c)
	if m.chance(15) {
		time.AfterFunc(m.upTo(300*time.Millisecond), func() { p.Withdraw(&c.Call) })
	}
	p.Ask(&c.Call)
	if m.chance(2) {
		p.Ask(&c.Call)
	}
}

// checkIdle checks that nothing waits that could go. Where batches are used, one
// may have to wait for another.
func (m *model) checkIdle(r *link.Roster) {
	time.Sleep(6 * time.Millisecond)
	synctest.Wait()
	if l, ok := r.Load("shop"); ok && !m.unary && !m.ends && l.Waiting > 0 && l.Open < l.Limit {
		m.Errorf("%d questions wait, though %d of %d are open", l.Waiting, l.Open, l.Limit)
	}
}

func (m *model) checkCalls() {
	for _, c := range m.calls {
		if n := c.told.Load(); n != 1 {
			m.Fatalf("call %s was told %d times", c.number, n)
		}
		if by := c.Deadline; c.ended.After(by) && c.ended.After(c.asked) {
			m.Errorf("call %s ended %v after its deadline", c.number, c.ended.Sub(by))
		}
		switch a := c.Answer(); a.State {
		case platform.Bound:
			if a.Accounts[0].Ref != c.number {
				m.Errorf("call %s got the answer to %s", c.number, a.Accounts[0].Ref)
			}
		case platform.Silent:
		default:
			m.Errorf("call %s: %+v", c.number, a)
		}
	}
}

func (m *model) checkLoad(l platform.Load, left bool) {
	if l.Open != 0 || l.Waiting != 0 {
		m.Errorf("%d questions are open and %d wait after all ended", l.Open, l.Waiting)
	}
	if float64(l.Counts.Hedged) > 0.02*float64(l.Counts.Asked) {
		m.Errorf("%d copies of %d questions", l.Counts.Hedged, l.Counts.Asked)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	came := 0
	for number, n := range m.got {
		if came += n; n > 3 { // one, its copy, and once more when its stream ended
			m.Errorf("%s was asked %d times", number, n)
		}
	}
	if !m.ends && !left && int64(came) > l.Counts.Asked+l.Counts.Hedged {
		m.Errorf("%d questions came: %+v", came, l.Counts)
	}
}
