package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

type platformView struct {
	PlatformID    string   `json:"platformId"`
	DisplayName   string   `json:"displayName"`
	State         string   `json:"state"`
	Health        string   `json:"health"`
	Address       string   `json:"address"`
	Functions     []string `json:"functions"`
	UnbindMode    string   `json:"unbindMode"`
	SuspendReason string   `json:"suspendReason"`
}

// columns checks that every row of a table begins its columns where the heading
// does, counting Chinese characters as two, and returns the rows' cells.
func columns(t *testing.T, text string) [][]string {
	t.Helper()
	var rows [][]string
	var starts []int
	for line := range strings.Lines(text) {
		var grid []rune // one for each cell of a terminal
		for _, r := range strings.TrimRight(line, "\n") {
			grid = append(grid, r)
			if r >= 0x2e80 {
				grid = append(grid, 0)
			}
		}
		if starts == nil {
			starts = headings(grid)
		}
		row := make([]string, len(starts))
		for i, from := range starts {
			to := len(grid)
			if i+1 < len(starts) {
				to = min(starts[i+1], to)
			}
			if from > to || from > 0 && grid[from-1] != ' ' {
				t.Fatalf("column %d of %q is out of line in\n%s", i, line, text)
			}
			row[i] = strings.TrimSpace(strings.ReplaceAll(string(grid[from:to]), "\x00", ""))
			if strings.Contains(row[i], "  ") || row[i] == "" {
				t.Fatalf("column %d of %q is out of line in\n%s", i, line, text)
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// headings is where words begin that stand two spaces apart.
func headings(line []rune) []int {
	var starts []int
	for i, r := range line {
		if r != ' ' && (i == 0 || i > 1 && line[i-1] == ' ' && line[i-2] == ' ') {
			starts = append(starts, i)
		}
	}
	return starts
}

// TestCLI works a running hub through its socket.
func TestCLI(t *testing.T) {
	t.Parallel()
	h := startDev(t, filepath.Join(t.TempDir(), "data"))
	t.Run("platform", func(t *testing.T) { platformCommands(t, h) })
	t.Run("unbind", func(t *testing.T) { unbindCommands(t, h) })
	t.Run("cert", func(t *testing.T) { certCommands(t, h) })
	t.Run("errors", func(t *testing.T) { commandErrors(t, h) })
	t.Run("second", func(t *testing.T) {
		r := tongcha(t, "dev", "--data", h.data, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")
		if r.code == 0 || !strings.Contains(r.stderr, "stop it first, or choose another folder with --data") {
			t.Errorf("a second dev on the folder: %+v", r)
		}
		h.cli("platform", "list").must(t) // the first one goes on
	})
}

func platformCommands(t *testing.T, h *hub) {
	list := decode[struct{ Platforms []platformView }](t, []byte(h.cli("platform", "list", "-o", "json").must(t).stdout))
	rows := columns(t, h.cli("platform", "list").must(t).stdout)
	if len(list.Platforms) != len(everySim) || len(rows) != len(everySim)+1 {
		t.Fatalf("%d platforms, %d rows", len(list.Platforms), len(rows))
	}
	for i, p := range list.Platforms {
		if row := rows[i+1]; row[0] != p.PlatformID || row[1] != p.DisplayName || row[3] != p.State {
			t.Errorf("row %q is not %+v", row, p)
		}
	}
	show := func(want string) platformView {
		t.Helper()
		p := decode[platformView](t, []byte(h.cli("platform", "show", "sim-sync", "-o", "json").must(t).stdout))
		if p.State != want || p.UnbindMode != "SYNC" || !slices.Contains(p.Functions, "UNBIND") {
			t.Errorf("platform show: %+v, want %s", p, want)
		}
		return p
	}
	show("JOINED")
	h.cli("platform", "suspend", "sim-sync", "--reason", "演练").must(t)
	if p := show("SUSPENDED"); p.SuspendReason != "演练" {
		t.Errorf("suspended because %q", p.SuspendReason)
	}
	if out := h.cli("platform", "show", "sim-sync").must(t).stdout; !strings.Contains(out, "suspended because  演练") {
		t.Errorf("platform show: %s", out)
	}
	p := h.verified(demoNumber, demoSuffix)
	wantAbsent(t, p.lookUp("sim-slow"), "sim-sync", "ANSWER_STATE_NOT_JOINED")
	h.cli("platform", "resume", "sim-sync").must(t)
	show("JOINED")
	wantRow(t, p.lookUp("sim-sync"), "sim-sync", split{2, 1})
}

func unbindCommands(t *testing.T, h *hub) {
	p := h.verified(demoNumber, demoSuffix)
	l := p.lookUp("sim-sync", "sim-refusing")
	orders := p.order(l.LookupID, "cli", "sim-sync", "sim-refusing")
	done := p.awaitOrder(orders["sim-sync"].UnbindID, soon(), "UNBIND_STATE_COMPLETED")
	p.awaitOrder(orders["sim-refusing"].UnbindID, soon(), "UNBIND_STATE_REFUSED")

	rows := columns(t, h.cli("unbind", "list").must(t).stdout)
	if len(rows) != 3 {
		t.Fatalf("unbind list: %q", rows)
	}
	rows = columns(t, h.cli("unbind", "list", "--state", "COMPLETED").must(t).stdout)
	if len(rows) != 2 || rows[1][0] != done.UnbindID || rows[1][1] != "sim-sync" || rows[1][2] != "COMPLETED" || rows[1][7] != "no" {
		t.Errorf("unbind list --state: %q", rows)
	}
	type view struct {
		UnbindID      string
		State         string
		RefusalReason string
		History       []historyBody
	}
	list := decode[struct{ Unbinds []view }](t, []byte(h.cli("unbind", "list", "--platform", "sim-refusing", "-o", "json").must(t).stdout))
	if len(list.Unbinds) != 1 || list.Unbinds[0].RefusalReason != "HAS_BALANCE" {
		t.Errorf("unbind list --platform: %+v", list)
	}
	one := decode[view](t, []byte(h.cli("unbind", "show", done.UnbindID, "-o", "json").must(t).stdout))
	if one.UnbindID != done.UnbindID || one.State != "COMPLETED" || len(one.History) != len(done.History) {
		t.Errorf("unbind show: %+v, REST says %+v", one, done)
	}
	if out := h.cli("unbind", "show", done.UnbindID).must(t).stdout; !strings.Contains(out, "COMPLETED, attempt 1") {
		t.Errorf("unbind show: %s", out)
	}
	stats := decode[struct {
		Platforms []struct {
			PlatformID         string
			Completed, Refused int
		}
	}](t, []byte(h.cli("queue", "stats", "-o", "json").must(t).stdout))
	columns(t, h.cli("queue", "stats").must(t).stdout)
	completed, refused := 0, 0
	for _, s := range stats.Platforms {
		completed, refused = completed+s.Completed, refused+s.Refused
	}
	if completed != 1 || refused != 1 {
		t.Errorf("queue stats: %+v", stats)
	}
}

func certCommands(t *testing.T, h *hub) {
	for _, role := range []string{"platform", "carrier", "regulator"} {
		dir := filepath.Join(t.TempDir(), "certs")
		r := h.cli(role, "cert", "somebody", "--out", dir, "-o", "json").must(t)
		got := decode[struct{ Identity, Folder string }](t, []byte(r.stdout))
		if got.Identity != "spiffe://tongcha.local/"+role+"/somebody" || got.Folder != dir {
			t.Errorf("%s cert: %+v", role, got)
		}
		for name, mode := range map[string]os.FileMode{"cert.pem": 0o644, "key.pem": 0o600, "ca.pem": 0o644} {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil || info.Mode().Perm() != mode {
				t.Errorf("%s: %v %v", name, info, err)
			}
		}
		h.cli(role, "cert", "somebody", "--out", dir).must(t) // renewing is the same command
	}
}

// commandErrors: every error has its exit code and says what to do.
func commandErrors(t *testing.T, h *hub) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"platform show nobody", 1, "(PLATFORM_UNKNOWN); see `tongcha platform list`"},
		{"platform suspend nobody", 1, "PLATFORM_UNKNOWN"},
		{"platform resume sim-sync", 1, "PLATFORM_STATE"},
		{"platform suspend sim-absent", 1, "PLATFORM_STATE"},
		{"platform add sim-sync --address 127.0.0.1:1 --name x --category 实用工具", 1, "PLATFORM_EXISTS"},
		{"platform add UPPER --address 127.0.0.1:1 --name x --category 实用工具", 1, "PLATFORM_ID_INVALID"},
		{"platform add other --address nowhere --name x --category 实用工具", 1, "ADDRESS_INVALID"},
		{"platform add other --address 127.0.0.1:1 --category 实用工具", 2, "--name"},
		{"platform add other --address 127.0.0.1:1 --name x --category 什么", 1, "39"},
		{"platform cert somebody", 2, "--out"},
		{"platform cert .. --out " + t.TempDir(), 1, "PLATFORM_ID_INVALID"},
		{"unbind show nothing", 1, "(UNBIND_NOT_FOUND); see `tongcha unbind list`"},
		{"unbind list --state NOWHERE", 2, "QUEUED"},
		{"unbind list --limit many", 2, "--limit"},
		{"unbind list -o yaml", 2, "table or json"},
		{"platform list --nonsense", 2, "--help"},
		{"platform show", 2, "--help"},
		{"platform list all", 2, "--help"},
		{"platform nonsense", 2, "tongcha platform --help"},
		{"nonsense", 2, "tongcha --help"},
		{"dev --http 0.0.0.0:0", 2, "tongcha serve"},
		{"dev --http nowhere", 2, "HOST:PORT"},
		{"dev --log-level loud", 2, "debug, info, warn or error"},
		{"dev --accounts missing.csv", 2, "missing.csv"},
		{"dev --grpc 127.0.0.1:0 --http " + taken, 1, "choose another address"},
	} {
		t.Run(c.args, func(t *testing.T) {
			data := h.data
			if strings.HasPrefix(c.args, "dev") {
				data = filepath.Join(t.TempDir(), "data")
			}
			r := tongcha(t, append(strings.Fields(c.args), "--data", data)...)
			if r.code != c.code || !strings.HasPrefix(r.stderr, "tongcha: ") || !strings.Contains(r.stderr, c.says) {
				t.Errorf("exit code %d, want %d with %q: %s", r.code, c.code, c.says, r.stderr)
			}
			if r.stdout != "" && c.args != "unbind list -o yaml" || strings.Contains(r.stderr, "goroutine") {
				t.Errorf("stdout: %s\nstderr: %s", r.stdout, r.stderr)
			}
		})
	}
}

// TestWithoutHub runs what needs no hub, and what needs one where there is none.
func TestWithoutHub(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	for _, args := range [][]string{
		{"platform", "list"}, {"platform", "show", "x"}, {"unbind", "list"}, {"unbind", "show", "x"}, {"queue", "stats"},
		{"platform", "cert", "xx", "--out", t.TempDir()}, {"platform", "suspend", "xx"}, {"platform", "resume", "xx"},
	} {
		r := tongcha(t, append(args, "--data", data)...)
		if r.code != 3 || !strings.Contains(r.stderr, "is it running") || !strings.Contains(r.stderr, "TONGCHA_DATA") {
			t.Errorf("%v: %+v", args, r)
		}
	}
	if _, err := os.Stat(data); !os.IsNotExist(err) {
		t.Errorf("a command made the data folder: %v", err)
	}
	v := decode[map[string]string](t, []byte(tongcha(t, "version", "-o", "json").must(t).stdout))
	if v["version"] == "" || v["commit"] == "" || !strings.HasPrefix(v["go"], "go1.") {
		t.Errorf("version: %v", v)
	}
	columns(t, tongcha(t, "version").must(t).stdout)
	file := filepath.Join(t.TempDir(), "keys.json")
	tongcha(t, "keys", "new", file).must(t)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v %v", info, err)
	}
	if r := tongcha(t, "keys", "new", file); r.code == 0 || !strings.Contains(r.stderr, file) {
		t.Errorf("keys new over keys: %+v", r)
	}
	help := tongcha(t).must(t).stdout
	for _, word := range []string{"dev", "serve", "platform", "unbind", "queue", "version", "TONGCHA_", "--config"} {
		if !strings.Contains(help, word) {
			t.Errorf("the help does not name %s", word)
		}
	}
	if r := tongcha(t, "platform"); !strings.Contains(r.stdout, fmt.Sprintf("%s  ", "suspend")) {
		t.Errorf("help of platform: %+v", r)
	}
}
