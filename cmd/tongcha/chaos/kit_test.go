//go:build chaos

package chaos

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/tongcha/tongcha/connectors/sdk"
	"github.com/tongcha/tongcha/server/pki"
)

// patience is how long the harness waits for what should come at once.
const patience = 20 * time.Second

// The bodies of REST, as far as the harness reads them.
type (
	lookupBody struct {
		LookupID string `json:"lookupId"`
		State    string `json:"state"`
		Answered int    `json:"answered"`
	}
	orderBody struct {
		UnbindID   string `json:"unbindId"`
		PlatformID string `json:"platformId"`
		State      string `json:"state"`
		History    []struct {
			State   string `json:"state"`
			Attempt int    `json:"attempt"`
			Reason  string `json:"reason"`
		} `json:"history"`
		Error struct {
			Reason string `json:"reason"`
		} `json:"error"`
	}
	ordersBody struct {
		Unbinds []orderBody `json:"unbinds"`
	}
)

// reply is a whole answer over HTTP.
type reply struct {
	status int
	body   []byte
}

// reason is the machine-readable reason of an error; empty for a success.
func (r reply) reason() string {
	var s struct {
		Details []struct{ Reason, Domain string }
	}
	if r.status == http.StatusOK || json.Unmarshal(r.body, &s) != nil {
		return ""
	}
	for _, d := range s.Details {
		if d.Domain == "tongcha" {
			return d.Reason
		}
	}
	return ""
}

// command is the binary with a clean environment, in the arena's folder.
func (a *arena) command(args ...string) *exec.Cmd {
	cmd := exec.Command(a.binary, args...)
	cmd.Dir = a.dir
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "TONGCHA_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	return cmd
}

// operate runs a command of the operator's to its end.
func (a *arena) operate(args ...string) (string, error) {
	cmd := a.command(args...)
	limit := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer limit.Stop()
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("tongcha %s: %w", strings.Join(args, " "), err)
	}
	return string(out), nil
}

// must does so and ends the test unless it worked.
func (a *arena) must(args ...string) {
	a.t.Helper()
	if _, err := a.operate(args...); err != nil {
		a.t.Fatal(err)
	}
}

// credentials are a peer's, of the hub's own authority.
func (a *arena) credentials(role pki.Role, id string) sdk.Credentials {
	a.t.Helper()
	pair, _, err := a.authority.Issue(role, id, pki.IssueOptions{})
	if err != nil {
		a.t.Fatal(err)
	}
	return sdk.Credentials{CertPEM: pair.CertPEM, KeyPEM: pair.KeyPEM, CAPEM: a.authority.CertPEM()}
}
