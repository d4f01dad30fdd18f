//go:build node

package main

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestNodeConnector joins a connector that somebody wrote in Node from the
// proto alone, looks a number up at it and unbinds there.
func TestNodeConnector(t *testing.T) {
	connector, err := filepath.Abs(filepath.Join("testdata", "node-connector", "connector.js"))
	if err != nil {
		t.Fatal(err)
	}
	h := startDev(t, filepath.Join(t.TempDir(), "data"))
	certs := filepath.Join(t.TempDir(), "certs")
	h.cli("platform", "cert", "node", "--out", certs).must(t)
	node := startNode(t, connector, certs)
	address := node.line(0, `^listening (\S+)$`)[1]
	r := h.cli("platform", "add", "node", "--address", address, "--name", "节点", "--category", "即时通信", "-o", "json").must(t)
	if p := decode[platformView](t, []byte(r.stdout)); p.Health != "SERVING" || p.UnbindMode != "SYNC" || r.stderr != "" {
		t.Fatalf("platform add: %+v %s", p, r.stderr)
	}

	p := h.verified(demoNumber, demoSuffix)
	l := p.lookUp()
	wantRow(t, l, "node", split{2, 1})
	wantRow(t, l, "sim-sync", split{2, 1})
	order := p.order(l.LookupID, "node", "node")["node"]
	if done := p.awaitOrder(order.UnbindID, soon(), "UNBIND_STATE_COMPLETED"); done.AccountCount != 2 {
		t.Errorf("order: %+v", done)
	}
	wantRow(t, p.lookUp("node"), "node", split{0, 1})
	node.stop()
	if out := node.stderr.String(); out != "" {
		t.Errorf("the connector's standard error: %s", out)
	}
}

// startNode starts the connector with three accounts on the demonstration's
// number, one of them since the holder has it, and one on another number.
func startNode(t *testing.T, connector, certs string) *hub {
	t.Helper()
	type account struct {
		Phone   string `json:"phone"`
		Ref     string `json:"ref"`
		Product string `json:"product"`
		BoundAt string `json:"boundAt"`
	}
	accounts, err := json.Marshal([]account{
		{demoNumber, "n-1", "聊天账号", "2012-05-06"},
		{demoNumber, "n-2", "聊天账号", "2023-12-31T23:59:59+08:00"},
		{demoNumber, "n-3", "聊天账号", "2024-03-01T00:00:00+08:00"},
		{"13900000003", "n-4", "聊天账号", "2012-05-06"},
	})
	if err != nil {
		t.Fatal(err)
	}
	proto, err := filepath.Abs(filepath.Join("..", "..", "proto", "tongcha", "connector", "v1", "connector.proto"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", connector, "--proto", proto, "--certs", certs, "--accounts", write(t, "accounts.json", string(accounts)))
	cmd.Dir = t.TempDir()
	return launch(t, cmd, "")
}
