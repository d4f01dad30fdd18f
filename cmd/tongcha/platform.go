package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
	"github.com/tongcha/tongcha/server/platform"
)

func newPlatform() *cobra.Command {
	cmd := &cobra.Command{Use: "platform", Short: "List, add, suspend and resume platforms at a running hub"}
	cmd.AddCommand(newPlatformList(), newPlatformShow(), newPlatformAdd(), newPlatformSuspend(), newPlatformResume(), newCert("platform"))
	return cmd
}

// newPeer is the command group of another kind of peer, which needs only
// certificates.
func newPeer(role string) *cobra.Command {
	cmd := &cobra.Command{Use: role, Short: "Certificates for a " + role}
	cmd.AddCommand(newCert(role))
	return cmd
}

func newPlatformList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List every catalogued platform", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withHub(cmd, func(ctx context.Context, c adminv1.AdminServiceClient) error {
				resp, err := c.ListPlatforms(ctx, &adminv1.ListPlatformsRequest{})
				if err != nil {
					return err
				}
				t := table{{"PLATFORM", "NAME", "CATEGORY", "STATE", "HEALTH", "FUNCTIONS", "ADDRESS"}}
				for _, p := range resp.GetPlatforms() {
					t = append(t, []string{
						p.GetPlatformId(), p.GetDisplayName(), p.GetCategory(), p.GetState(), p.GetHealth(),
						dash(strings.Join(p.GetFunctions(), ",")), dash(p.GetAddress()),
					})
				}
				return emit(cmd, resp, t)
			})
		},
	}
	addOutput(cmd)
	return cmd
}

func newPlatformShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show ID", Short: "Show one platform", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withHub(cmd, func(ctx context.Context, c adminv1.AdminServiceClient) error {
				resp, err := c.GetPlatform(ctx, &adminv1.GetPlatformRequest{PlatformId: args[0]})
				if err != nil {
					return err
				}
				return emit(cmd, resp.GetPlatform(), platformTable(resp.GetPlatform()))
			})
		},
	}
	addOutput(cmd)
	return cmd
}

func platformTable(p *adminv1.Platform) table {
	return table{
		{"platform", p.GetPlatformId()},
		{"name", p.GetDisplayName()},
		{"category", p.GetCategory()},
		{"state", p.GetState()},
		{"suspended because", dash(p.GetSuspendReason())},
		{"health", p.GetHealth()},
		{"problem", dash(p.GetProblem())},
		{"address", dash(p.GetAddress())},
		{"functions", dash(strings.Join(p.GetFunctions(), ","))},
		{"unbind mode", dash(p.GetUnbindMode())},
		{"products", dash(strings.Join(p.GetProducts(), ","))},
		{"max batch", maxBatch(p)},
		{"added", when(p.GetAddTime())},
		{"last seen", when(p.GetLastSeenTime())},
		{"breaker", breakerText(p.GetLoad(), time.Now())},
		{"lookups", loadText(p.GetLoad())},
		{"orders", flowText(p.GetOrders(), time.Now())},
	}
}

// flowText says in one line how orders go.
func flowText(f *adminv1.OrderFlow, now time.Time) string {
	if f == nil {
		return "-"
	}
	text := f.GetBreaker()
	switch until := f.GetBreakerUntil(); {
	case text == "OPEN" && until.AsTime().After(now):
		text = fmt.Sprintf("OPEN: %d calls in a row gave no answer; orders wait, one is tried at %s", f.GetFailed(), when(until))
	case text == "OPEN":
		text = fmt.Sprintf("OPEN: %d calls in a row gave no answer; orders wait, the next one that is due is tried", f.GetFailed())
	case text == "HALF_OPEN":
		text = "HALF_OPEN: orders wait, one is being tried and decides"
	}
	return fmt.Sprintf("%s; %d of %d places taken, at most %g/s", text, f.GetUnderWay(), f.GetPlaces(), f.GetPerSecond())
}

// maxBatch is unknown until the platform has described itself.
func maxBatch(p *adminv1.Platform) string {
	if len(p.GetFunctions()) == 0 {
		return "-"
	}
	return strconv.Itoa(int(p.GetMaxBatch()))
}

// breakerText says whether the platform is asked.
func breakerText(l *adminv1.PlatformLoad, now time.Time) string {
	switch l.GetBreaker() {
	case "OPEN":
		// Nothing is sent for the breaker's own sake: a time that is over waits for
		// somebody who asks.
		if until := l.GetBreakerUntil(); until.AsTime().After(now) {
			return "OPEN: it answered nothing for a while; not asked before " + when(until)
		}
		return "OPEN: it answered nothing for a while; the next question is let through"
	case "HALF_OPEN":
		return "HALF_OPEN: one question was let through and decides"
	}
	return dash(l.GetBreaker())
}

// loadText says in one line how lookups go.
func loadText(l *adminv1.PlatformLoad) string {
	if l == nil {
		return "-"
	}
	p95 := "too few answers for a p95"
	if l.P95AnswerMillis != nil {
		p95 = fmt.Sprintf("p95 %d ms", l.GetP95AnswerMillis())
	}
	return fmt.Sprintf("%s, %d open of %d, %d waiting, %s, %d asked, %d copies", strings.ToLower(l.GetTransport()), l.GetOpen(), l.GetLimit(), l.GetWaiting(), p95, l.GetAsked(), l.GetHedged())
}

func newPlatformAdd() *cobra.Command {
	req := new(adminv1.AddPlatformRequest)
	cmd := &cobra.Command{
		Use: "add ID", Short: "Join a platform's connector at the running hub", Args: cobra.ExactArgs(1),
		Long: "Join a platform's connector at the running hub, without a restart. To give a platform another\n" +
			"address, suspend it and add it again.\n\nThe categories: " + strings.Join(platform.Categories(), " "),
		Example: "  tongcha platform cert mall --out ./mall-certs\n" +
			"  tongcha platform add mall --address 127.0.0.1:9443 --name 商城 --category 网上购物",
		RunE: func(cmd *cobra.Command, args []string) error {
			req.PlatformId = args[0]
			for _, name := range []string{"address", "name", "category"} {
				if !cmd.Flags().Changed(name) {
					return usageError("give --%s; see `%s --help`", name, cmd.CommandPath())
				}
			}
			return withHub(cmd, func(ctx context.Context, c adminv1.AdminServiceClient) error {
				resp, err := c.AddPlatform(ctx, req)
				if err != nil {
					return err
				}
				p := resp.GetPlatform()
				if p.GetHealth() != "SERVING" {
					_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "%s has joined, but its connector does not answer yet (%s); the hub keeps trying.\n", p.GetPlatformId(), cmp.Or(p.GetProblem(), "nothing heard within 3 s"))
				}
				return emit(cmd, p, platformTable(p))
			})
		},
	}
	cmd.Flags().StringVar(&req.Address, "address", "", "where the connector listens, HOST:PORT (required)")
	cmd.Flags().StringVar(&req.DisplayName, "name", "", "name shown to people (required)")
	cmd.Flags().StringVar(&req.Category, "category", "", "kind of app, one of the 39 types listed above (required)")
	addOutput(cmd)
	return cmd
}

func newPlatformSuspend() *cobra.Command {
	req := new(adminv1.SuspendPlatformRequest)
	cmd := &cobra.Command{
		Use: "suspend ID", Short: "Stop asking a platform; its orders wait", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.PlatformId = args[0]
			return withHub(cmd, func(ctx context.Context, c adminv1.AdminServiceClient) error {
				resp, err := c.SuspendPlatform(ctx, req)
				if err != nil {
					return err
				}
				return emit(cmd, resp.GetPlatform(), platformTable(resp.GetPlatform()))
			})
		},
	}
	cmd.Flags().StringVar(&req.Reason, "reason", "", "why, for the record")
	addOutput(cmd)
	return cmd
}

func newPlatformResume() *cobra.Command {
	cmd := &cobra.Command{
		Use: "resume ID", Short: "Ask a suspended platform again", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withHub(cmd, func(ctx context.Context, c adminv1.AdminServiceClient) error {
				resp, err := c.ResumePlatform(ctx, &adminv1.ResumePlatformRequest{PlatformId: args[0]})
				if err != nil {
					return err
				}
				return emit(cmd, resp.GetPlatform(), platformTable(resp.GetPlatform()))
			})
		},
	}
	addOutput(cmd)
	return cmd
}

func newCert(role string) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use: "cert ID", Short: "Issue a certificate for a " + role + ": cert.pem, key.pem and ca.pem", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				return usageError("give the folder for the files with --out")
			}
			return withHub(cmd, func(ctx context.Context, c adminv1.AdminServiceClient) error {
				resp, err := c.IssueCertificate(ctx, &adminv1.IssueCertificateRequest{Role: role, Id: args[0]})
				if err != nil {
					return err
				}
				if err := writeCert(out, resp); err != nil {
					return err
				}
				view := map[string]string{"identity": resp.GetIdentity(), "folder": out, "expireTime": resp.GetExpireTime().AsTime().Format("2006-01-02T15:04:05Z")}
				return emit(cmd, view, table{{"IDENTITY", "FOLDER", "EXPIRES"}, {resp.GetIdentity(), out, when(resp.GetExpireTime())}})
			})
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "folder for cert.pem, key.pem and ca.pem (required)")
	addOutput(cmd)
	return cmd
}

// writeCert writes the three files, the key readable by its owner alone. Files
// of an earlier certificate are replaced, so that renewing is the same command.
func writeCert(dir string, r *adminv1.IssueCertificateResponse) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	for _, f := range []struct {
		name string
		body []byte
		mode os.FileMode
	}{{"key.pem", r.GetKeyPem(), 0o600}, {"cert.pem", r.GetCertificatePem(), 0o644}, {"ca.pem", r.GetCaPem(), 0o644}} {
		path := filepath.Join(dir, f.name)
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("--out: %w", err)
		}
		if err := os.WriteFile(path, f.body, f.mode); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
	}
	return nil
}
