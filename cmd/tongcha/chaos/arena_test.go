//go:build chaos

package chaos

import (
	"context"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tongcha/tongcha/connectors/sdk"
	carrierv1 "github.com/tongcha/tongcha/gen/go/tongcha/carrier/v1"
	"github.com/tongcha/tongcha/server"
	"github.com/tongcha/tongcha/server/pki"
)

// arena is one hub with its data folder and all that is around it: a carrier, an
// SMS gateway, platforms and people, none of whom is ever killed.
type arena struct {
	t         *testing.T
	binary    string
	dir       string
	number    int // among the arenas of a siege
	ledger    *ledger
	authority *pki.Authority
	victim    *victim
	witnesses []*witness
	messages  *messages
	client    *http.Client

	ctx        context.Context // ends when all is over or too late
	cancel     context.CancelFunc
	background sync.WaitGroup

	chance  sync.Mutex
	rnd     *rand.Rand
	plans   *rand.Rand   // of the kills alone, so that a seed draws the same for them
	kills   *kills       // of all arenas
	people  atomic.Int64 // numbers given out
	waiting atomic.Int64 // people who wait for a calm run
}

const trustDomain = "tongcha.local"

// newArena sets everything up and joins the platforms; the hub is stopped then.
func newArena(t *testing.T, binary string, kills *kills, seed uint64, number int) *arena {
	t.Helper()
	a := &arena{
		t: t, binary: binary, dir: t.TempDir(), number: number, kills: kills,
		rnd: rand.New(rand.NewPCG(seed, uint64(2*number))), plans: rand.New(rand.NewPCG(seed, uint64(2*number+1))),
	}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.ledger = newLedger(t, filepath.Join(a.dir, "ledger.ndjson"))
	data, keys := filepath.Join(a.dir, "data"), filepath.Join(a.dir, "keys.json")
	a.must("keys", "new", keys)
	var err error
	if a.authority, err = server.OpenAuthority(filepath.Join(data, "hub"), trustDomain); err != nil {
		t.Fatal(err)
	}
	a.messages = a.startMessages()
	a.client = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	a.victim = newVictim(a, "serve", "--data", data, "--keys", keys, "--sms-gateway", a.messages.URL, "--carrier", "carrier="+a.startCarrier(),
		"--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--trusted-proxy", "127.0.0.1/32")
	for _, m := range manners() {
		a.witnesses = append(a.witnesses, a.startWitness(m))
	}
	t.Cleanup(a.end)
	a.join()
	return a
}

// end lets everybody go home; a hub that still runs is killed.
func (a *arena) end() {
	a.victim.mu.Lock()
	if a.victim.process != nil {
		a.victim.killed = unplanned
		_ = a.victim.process.Kill()
	}
	a.victim.mu.Unlock()
	a.cancel()
	a.background.Wait()
	if a.t.Failed() { // a test's own folders are gone after it
		kept, err := os.MkdirTemp("", "chaos-")
		if err == nil {
			_ = os.Remove(server.Socket(filepath.Join(a.dir, "data", "hub"))) // CopyFS takes no sockets
			err = os.CopyFS(kept, os.DirFS(a.dir))
		}
		a.t.Logf("hub %d: data folder, ledger and journals are in %s (%v)", a.number, kept, err)
	}
}

// serve runs a server until the test ends.
func (a *arena) serve(name string, run func(context.Context) error) {
	a.background.Go(func() {
		if err := run(a.ctx); err != nil {
			a.ledger.breach("%s of the harness failed: %v", name, err)
		}
	})
}

// join adds the platforms at a run that nobody kills.
func (a *arena) join() {
	a.t.Helper()
	run := a.quiet()
	for _, w := range a.witnesses {
		a.must("platform", "add", w.id, "--address", w.address(), "--name", w.id, "--category", "实用工具", "--data", filepath.Join(a.dir, "data"))
	}
	a.victim.stopNow(run)
}

// quiet starts a run that is not killed, and waits until it serves.
func (a *arena) quiet() hubRun {
	a.t.Helper()
	if _, err := a.victim.start(plan{calm: true}); err != nil {
		a.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(a.ctx, patience)
	defer cancel()
	run, ok := a.victim.await(ctx, true)
	if !ok {
		a.t.Fatal("the hub does not serve")
	}
	return run
}

// The chances of the arena. Safe for concurrent use.

func (a *arena) below(n int) int {
	a.chance.Lock()
	defer a.chance.Unlock()
	return a.rnd.IntN(n)
}

func (a *arena) perm(n int) []int {
	a.chance.Lock()
	defer a.chance.Unlock()
	return a.rnd.Perm(n)
}

func (a *arena) between(low, high time.Duration) time.Duration {
	return low + time.Duration(a.below(int(high-low)))
}

// pause lasts between low and high, less only when all is over.
func (a *arena) pause(low, high time.Duration) { a.sleep(a.between(low, high)) }

// sleep reports whether it lasted to its end.
func (a *arena) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-a.ctx.Done():
		return false
	}
}

// messages is the operator's SMS gateway.
type messages struct {
	*httptest.Server
	mu    sync.Mutex
	codes map[string]chan string
}

func (a *arena) startMessages() *messages {
	m := &messages{codes: make(map[string]chan string)}
	six := regexp.MustCompile(`\d{6}`)
	m.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var message struct{ To, Text string }
		if err := json.NewDecoder(r.Body).Decode(&message); err != nil {
			a.ledger.breach("the SMS gateway was sent what is no message: %v", err)
			return
		}
		a.victim.reached(onMessage)
		select {
		case m.of(strings.TrimPrefix(message.To, "+86")) <- six.FindString(message.Text):
		default: // nobody waits for it any more
		}
	}))
	a.t.Cleanup(m.Close)
	return m
}

// of is where the codes for a number arrive.
func (m *messages) of(number string) chan string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.codes[number] == nil {
		m.codes[number] = make(chan string, 4)
	}
	return m.codes[number]
}

// carrier attests everybody. Some numbers change hands right after that.
type carrier struct {
	carrierv1.UnimplementedCarrierServiceServer
	a     *arena
	since time.Time
}

func (a *arena) startCarrier() string {
	a.t.Helper()
	gs, err := sdk.NewGRPCServer(a.credentials(pki.RoleCarrier, "carrier"), sdk.RoleCarrier, "carrier", slog.New(slog.DiscardHandler))
	if err != nil {
		a.t.Fatal(err)
	}
	carrierv1.RegisterCarrierServiceServer(gs, &carrier{a: a, since: time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		a.t.Fatal(err)
	}
	a.serve("carrier", func(ctx context.Context) error { return sdk.RunGRPC(ctx, gs, l, time.Second) })
	return l.Addr().String()
}

// AttestHolder implements the contract.
func (c *carrier) AttestHolder(context.Context, *carrierv1.AttestHolderRequest) (*carrierv1.AttestHolderResponse, error) {
	return &carrierv1.AttestHolderResponse{Attestation: carrierv1.Attestation_ATTESTATION_MATCH, HolderSince: timestamppb.New(c.since)}, nil
}

// CheckHolder implements the contract.
func (c *carrier) CheckHolder(_ context.Context, r *carrierv1.CheckHolderRequest) (*carrierv1.CheckHolderResponse, error) {
	c.a.victim.reached(onHolderCheck)
	change := carrierv1.HolderChange_HOLDER_CHANGE_UNCHANGED
	if changesHands(r.GetPhoneNumber()) {
		change = carrierv1.HolderChange_HOLDER_CHANGE_CHANGED
	}
	return &carrierv1.CheckHolderResponse{Change: change}, nil
}

// changesHands picks one number in twenty.
func changesHands(number string) bool {
	return strings.HasSuffix(number, "7") && number[len(number)-2]%2 == 1
}
