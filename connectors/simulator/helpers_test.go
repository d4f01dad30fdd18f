package simulator_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"

	"github.com/tongcha/tongcha/connectors/sdk"
	"github.com/tongcha/tongcha/connectors/sdk/sdktest"
	"github.com/tongcha/tongcha/connectors/simulator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	numberA = "+8613800000001"
	numberB = "+8613800000002"

	accountsHeader = "platform_id,phone_number,product,bound_at,id_suffix\n"
	holdersHeader  = "phone_number,id_suffix,holder_since\n"

	// twoAccounts are one before and one since the holder of 2026-03-01.
	twoAccounts = accountsHeader +
		"shop,13800000001,商城,2020-01-02,\n" +
		"shop,13800000001,支付,2026-04-01T10:00:00+08:00,01123X\n"
)

// holderSince is 2026-03-01 00:00 in China.
func holderSince() time.Time { return time.Date(2026, 2, 28, 16, 0, 0, 0, time.UTC) }

// checks are plain rules whose errors hold the value, as careless ones may.
func checks() simulator.Checks {
	digits := regexp.MustCompile(`^1[3-9]\d{9}$`)
	suffix := regexp.MustCompile(`^\d{5}[0-9Xx]$`)
	return simulator.Checks{
		Phone: func(s string) (string, error) {
			s = strings.TrimPrefix(s, "+86")
			if !digits.MatchString(s) {
				return "", errors.New("bad number " + s)
			}
			return "+86" + s, nil
		},
		Suffix: func(s string) (string, error) {
			if !suffix.MatchString(s) {
				return "", errors.New("bad suffix " + s)
			}
			return strings.ToUpper(s), nil
		},
	}
}

func open(t *testing.T, dir string) *simulator.Data {
	t.Helper()
	d, err := simulator.OpenData(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func importAccounts(t *testing.T, d *simulator.Data, csv string, want int) {
	t.Helper()
	n, err := d.ImportAccounts(strings.NewReader(csv), checks())
	if err != nil || n != want {
		t.Fatalf("imported %d, %v; want %d", n, err, want)
	}
}

func refs(accounts []sdk.Account) []string {
	var out []string
	for _, a := range accounts {
		out = append(out, a.Ref)
	}
	return out
}

// effectLines reads the file as an outsider would.
func effectLines(t *testing.T, dir string) []simulator.Effect {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "effects.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	var out []simulator.Effect
	for line := range strings.Lines(string(b)) {
		var e simulator.Effect
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// platform is a simulated platform with a client of it.
type platform struct {
	connectorv1.ConnectorServiceClient
	*simulator.Server
	dir  string
	data *simulator.Data
	hub  *sdktest.Hub
	t    *testing.T
}

// start runs a platform "shop" with two accounts of numberA; make it inside the
// bubble. With reports a hub takes its reports.
func start(t *testing.T, spec simulator.Spec, reports bool) *platform {
	t.Helper()
	p := &platform{dir: t.TempDir(), t: t}
	p.data = open(t, p.dir)
	importAccounts(t, p.data, twoAccounts, 2)
	p.serve(spec, reports)
	return p
}

// again is the platform after a restart, which leaves it its rows and effects.
func (p *platform) again(spec simulator.Spec) *platform {
	p.t.Helper()
	next := &platform{dir: p.dir, data: p.data, t: p.t}
	next.serve(spec, false)
	return next
}

func (p *platform) serve(spec simulator.Spec, reports bool) {
	t := p.t
	t.Helper()
	a, lis := sdktest.NewAuthority(t), bufconn.Listen(1<<16)
	at := simulator.Endpoint{
		Listener: lis, Credentials: a.Issue(sdk.RolePlatform, "shop"), Logger: slog.New(slog.DiscardHandler),
	}
	if reports {
		p.hub = sdktest.StartHub(t, a.Issue(sdk.RoleHub, "hub-1"))
		at.Reporter = p.hub.Reporter(t, a, "shop")
	}
	spec.ID = "shop"
	var err error
	if p.Server, err = simulator.StartPlatform(t.Context(), spec, p.data, at); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	p.ConnectorServiceClient = connectorv1.NewConnectorServiceClient(sdktest.Dial(t, lis, a.Issue(sdk.RoleHub, "hub-1")))
}

func (p *platform) lookup(within time.Duration) (*connectorv1.SubjectAnswer, error) {
	p.t.Helper()
	r, err := p.LookupBindings(p.t.Context(), &connectorv1.LookupBindingsRequest{
		AnswerWithin: durationpb.New(within),
		Subjects: []*connectorv1.Subject{{
			SubjectRef: make([]byte, 16), PhoneNumber: numberA, HolderSince: timestamppb.New(holderSince()),
		}},
	})
	if err != nil {
		return nil, err
	}
	return r.GetAnswers()[0], nil
}

// order names all accounts of numberA and protects those of the holder.
func (p *platform) order(id string, attempt int32) *connectorv1.RequestUnbindRequest {
	accounts := refs(p.data.Accounts("shop", numberA))
	if len(accounts) == 0 {
		accounts = []string{"none-left"}
	}
	return &connectorv1.RequestUnbindRequest{
		OrderId: id, PhoneNumber: numberA, Attempt: attempt,
		AccountRefs: accounts, BoundBefore: timestamppb.New(holderSince()),
	}
}

func (p *platform) unbind(id string, attempt int32) *connectorv1.UnbindResult {
	p.t.Helper()
	r, err := p.RequestUnbind(p.t.Context(), p.order(id, attempt))
	if err != nil {
		p.t.Fatal(err)
	}
	return r.GetResult()
}

// appeal sends the order as it comes after so many appeals.
func (p *platform) appeal(id string, appeals int) *connectorv1.UnbindResult {
	p.t.Helper()
	o := p.order(id, 1)
	o.Appeal = int32(appeals)
	r, err := p.RequestUnbind(p.t.Context(), o)
	if err != nil {
		p.t.Fatal(err)
	}
	return r.GetResult()
}

func (p *platform) state(id string) sdk.UnbindState {
	p.t.Helper()
	r, err := p.GetUnbind(p.t.Context(), &connectorv1.GetUnbindRequest{OrderId: id})
	if err != nil {
		p.t.Fatal(err)
	}
	return r.GetResult().GetState()
}

func (p *platform) wantEffects(want int) {
	p.t.Helper()
	if got := effectLines(p.t, p.dir); len(got) != want {
		p.t.Errorf("effects = %+v, want %d", got, want)
	}
}

func wantCode(t *testing.T, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("code = %v, want %v (%v)", got, want, err)
	}
}
