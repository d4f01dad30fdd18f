package main

import (
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// silentSocket listens, takes whatever is sent and never answers.
func silentSocket(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			go func() { _, _ = io.Copy(io.Discard, c) }()
		}
	}()
	return l.Addr().String()
}

// TestSilentSocket joins a platform that takes a connection and says nothing,
// and one where nobody listens.
func TestSilentSocket(t *testing.T) {
	t.Parallel()
	h := startDev(t, filepath.Join(t.TempDir(), "data"))
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for id, address := range map[string]string{"mute": silentSocket(t), "nobody": closed.Addr().String()} {
		began := time.Now()
		r := h.cli("platform", "add", id, "--address", address, "--name", "哑巴", "--category", "实用工具").must(t)
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("platform add took %v", took)
		}
		if !strings.Contains(r.stderr, id+" has joined, but its connector does not answer yet") {
			t.Errorf("platform add says: %s", r.stderr)
		}
	}
	p := h.verified(demoNumber, demoSuffix)
	began := time.Now()
	l := p.lookUp()
	if took := time.Since(began); took > 6*time.Second {
		t.Errorf("the lookup took %v", took)
	}
	wantAbsent(t, l, "mute", "ANSWER_STATE_SILENT")
	wantAbsent(t, l, "nobody", "ANSWER_STATE_SILENT")
	wantAbsent(t, l, "sim-silent", "ANSWER_STATE_SILENT")
	for platform, s := range map[string]split{"sim-async": {1, 0}, "sim-slow": {1, 0}, "sim-refusing": {1, 0}, "sim-sync": {2, 1}} {
		wantRow(t, l, platform, s)
	}
	if o := p.order(l.LookupID, "mute", "mute")["mute"]; o.Error.Reason != "NOT_LOOKED_UP" {
		t.Errorf("an order for a platform that did not answer: %+v", o)
	}
}
