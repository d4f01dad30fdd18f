package main

import (
	"context"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/bolt"
	"github.com/tongcha/tongcha/server/unbind"
)

// buryIn makes dead letters in the data folder of a hub that has stopped.
func buryIn(t *testing.T, data string, at platform.ID, n int) []string {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	keys, err := seal.Load(filepath.Join(data, "hub", "keys.json"))
	must(err)
	store, err := bolt.Open(filepath.Join(data, "hub", "tongcha.db"), keys)
	must(err)
	defer func() { must(store.Close()) }()
	number, err := phone.ParseNumber("+8613800000002")
	must(err)
	var ids []string
	now := time.Now()
	for i := range n {
		o := unbind.New(seal.NewID(now), now, now.Add(time.Hour), unbind.Order{
			Platform: at, Subject: keys.Sum("subject", []byte{byte(i), byte(i >> 8)}), Number: number, NumberIndex: phone.IndexOf(keys, number),
			AccountRefs: []string{"gone"}, HolderChecked: now,
		})
		_, err := store.Enqueue(context.Background(), unbind.Enqueue{
			Subject: o.Subject, NumberIndex: o.NumberIndex, RequestKey: [32]byte(seal.Token(32)), Now: now, Items: []unbind.Item{{Platform: at, Order: &o}},
		})
		must(err)
		ids = append(ids, o.ID)
	}
	claims, _, err := store.Claim(context.Background(), unbind.ClaimRequest{Now: now, Lease: time.Hour, Max: n, Free: func(platform.ID) int { return n }})
	must(err)
	for _, c := range claims {
		_, err := store.Finish(context.Background(), c, unbind.Abandon(unbind.Attempt{Began: now, Ended: now.Add(time.Millisecond)}, "TOO_OLD"))
		must(err)
	}
	slices.Sort(ids)
	return ids
}

// workView is the JSON of a replay or a discard.
type workView struct{ Total, Done, Failed string }

// TestDeadLetters works the dead letters of a running hub.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	h := startDev(t, data)
	h.stop()
	ids := buryIn(t, data, "sim-sync", 8)
	buryIn(t, data, "sim-slow", 40)
	h = startDev(t, data, "--log-level", "info")

	rows := columns(t, h.cli("dlq", "list", "--platform", "sim-sync").must(t).stdout)
	if len(rows) != 9 || rows[1][0] != ids[0] || rows[1][2] != "TOO_OLD" || !strings.HasSuffix(rows[1][3], "ago") && rows[1][3] != "now" {
		t.Fatalf("dlq list: %q", rows)
	}
	if r := h.cli("dlq", "list", "--limit", "3").must(t); len(columns(t, r.stdout)) != 4 || !strings.Contains(r.stderr, "there are more") {
		t.Errorf("dlq list --limit: %+v", r)
	}
	if r := h.cli("dlq", "list", "--older-than", "1d12h", "--reason", "too_old").must(t); len(columns(t, r.stdout)) != 1 {
		t.Errorf("dlq list --older-than: %+v", r)
	}
	if out := h.cli("dlq", "show", ids[0]).must(t).stdout; !strings.Contains(out, "ABANDONED, attempt 1") || !strings.Contains(out, "TOO_OLD") || !strings.Contains(out, "1ms") || strings.Contains(out, "gone") {
		t.Errorf("dlq show: %s", out)
	}
	if got := offers(t, command(t, "__complete", "dlq", "replay", "--data", data, ids[0], ids[1][:20])); !slices.Contains(got, ids[1]) || slices.Contains(got, ids[0]) {
		t.Errorf("completion offers %q", got)
	}
	replayByID(t, h, ids)
	discardWithNote(t, h, ids)
	replayStopped(t, h)
	if strings.Contains(h.stderr.String(), "settled") {
		t.Error("the log has what the operator typed")
	}
	h.stop()
}

func replayByID(t *testing.T, h *hub, ids []string) {
	if r := h.cli("dlq", "replay", "--platform", "sim-sync", "--dry-run").must(t); !strings.Contains(r.stdout, "sim-sync  TOO_OLD  8") {
		t.Errorf("dry run: %+v", r)
	}
	r := h.cli("dlq", "replay", ids[0], ids[1], "-o", "json").must(t)
	if v := decode[workView](t, []byte(r.stdout)); v != (workView{"2", "2", "0"}) {
		t.Errorf("replay: %+v", v)
	}
	unknown := "00000000000000000000000000"
	r = h.cli("dlq", "replay", ids[2], ids[0], unknown, "--rate", "1000/s")
	if r.code != exitFailure || !strings.Contains(r.stderr, ids[0]+" was not replayed (NOT_ABANDONED)") || !strings.Contains(r.stderr, unknown+" was not replayed (UNBIND_NOT_FOUND)") ||
		!strings.Contains(r.stderr, "2 of 3 could not be replayed") || !strings.Contains(r.stdout, "replayed      1") {
		t.Errorf("replay of what is none: %+v", r)
	}
	if r := h.cli("dlq", "show", ids[0]); r.code != exitFailure || !strings.Contains(r.stderr, "tongcha unbind show") {
		t.Errorf("dlq show of what is none: %+v", r)
	}
	h.cli("unbind", "show", ids[0]).must(t)
}

func discardWithNote(t *testing.T, h *hub, ids []string) {
	if r := h.cli("dlq", "discard", "--platform", "sim-sync", "--limit", "2", "--note", "settled by hand", "--yes").must(t); !strings.Contains(r.stdout, "discarded     2") {
		t.Errorf("discard: %+v", r)
	}
	out := h.cli("unbind", "show", ids[3]).must(t).stdout
	if !strings.Contains(out, "discarded because  settled by hand") || !strings.Contains(out, "DISCARDED") {
		t.Errorf("unbind show of a discarded order: %s", out)
	}
	if rows := columns(t, h.cli("dlq", "list", "--platform", "sim-sync").must(t).stdout); len(rows) != 4 {
		t.Errorf("%d rows", len(rows))
	}
}

// replayStopped: Ctrl-C ends it, it says how many were replayed, and the same
// command goes on.
func replayStopped(t *testing.T, h *hub) {
	args := []string{"dlq", "replay", "--platform", "sim-slow", "--yes", "--data", h.data}
	cmd := command(t, append(args, "--rate", "4/s")...)
	stdout, stderr := newLines(), newLines()
	cmd.Stdout, cmd.Stderr = stdout, stderr
	from := h.stderr.mark()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h.wait(h.stderr, from, `dead letter replayed.*sim-slow`)
	_ = cmd.Process.Signal(syscall.SIGINT)
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitFailure {
		t.Errorf("stopped: exit code %d %s", code, stderr)
	}
	if !regexp.MustCompile(`stopped: \d+ of 40 were replayed.*the same command goes on`).MatchString(stderr.String()) || !strings.Contains(stdout.String(), "chosen        40") {
		t.Errorf("stopped: %s%s", stdout, stderr)
	}
	h.wait(h.stderr, from, `"dead letters replayed".*"whole":false`)
	if r := h.cli("dlq", "replay", "--platform", "sim-slow", "--rate", "1000/s", "--yes").must(t); strings.Contains(r.stdout, "chosen        40") {
		t.Errorf("went on: %+v", r)
	}
	if rows := columns(t, h.cli("dlq", "list", "--platform", "sim-slow").must(t).stdout); len(rows) != 1 {
		t.Errorf("%d rows are left", len(rows))
	}
}

// TestQueuePause: a pause lasts over a restart, shows in status and stats, holds
// its platform alone, and ends by resume.
func TestQueuePause(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	h := startDev(t, data)
	h.cli("queue", "pause", "--platform", "sim-sync", "--reason", "搬迁").must(t)
	if r := h.cli("queue", "resume").must(t); !strings.Contains(r.stderr, "no such pause") || !strings.Contains(r.stdout, "搬迁") {
		t.Errorf("queue resume of another: %+v", r)
	}
	p := h.verified(demoNumber, demoSuffix)
	l := p.lookUp("sim-sync", "sim-refusing")
	orders := p.order(l.LookupID, "paused", "sim-sync", "sim-refusing")
	p.awaitOrder(orders["sim-refusing"].UnbindID, soon(), "UNBIND_STATE_REFUSED")
	h.stop()

	h = startDev(t, data)
	if s := h.status(); !slices.Contains(s.codes(), "QUEUE_PAUSED") {
		t.Errorf("status of a paused hub: %v", s.codes())
	}
	stats := h.cli("queue", "stats").must(t).stdout
	if !strings.Contains(stats, "PAUSED") || !strings.Contains(stats, "sim-sync  ") || !strings.Contains(stats, "搬迁") {
		t.Errorf("queue stats: %s", stats)
	}
	h.cli("drain").must(t)
	h.cli("drain", "--undo").must(t)
	rows := columns(t, h.cli("queue", "list", "--platform", "sim-sync").must(t).stdout)
	if len(rows) != 2 || rows[1][0] != orders["sim-sync"].UnbindID || rows[1][2] != "QUEUED" || !strings.HasPrefix(rows[1][3], "in ") || rows[1][4] != "0" || rows[1][6] != "-" {
		t.Errorf("queue list: %q", rows)
	}
	if rows := columns(t, h.cli("queue", "list", "--overdue").must(t).stdout); len(rows) != 1 {
		t.Errorf("queue list --overdue: %q", rows)
	}
	r := h.cli("queue", "resume", "--platform", "sim-sync").must(t)
	if r.stderr != "" || !strings.Contains(r.stdout, "nothing") {
		t.Errorf("queue resume: %+v", r)
	}
	p = h.verified(demoNumber, demoSuffix)
	p.awaitOrder(orders["sim-sync"].UnbindID, soon(), "UNBIND_STATE_COMPLETED")
	if s := h.status(); slices.Contains(s.codes(), "QUEUE_PAUSED") {
		t.Errorf("status after the pause: %v", s.codes())
	}
	commandsOfTheQueue(t, h)
	h.stop()
}

// commandsOfTheQueue: what is wrong is refused with what to do, and echoes no
// number.
func commandsOfTheQueue(t *testing.T, h *hub) {
	const typed = "13912349876"
	id := "06cn1k8x4j2v9qdt0h5m3w7e1r"
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"queue", "pause"}, 2, "--reason is required"},
		{[]string{"queue", "pause", "--reason", "see " + typed}, 2, "may be a number"},
		{[]string{"queue", "pause", "--reason", strings.Repeat("x", 201)}, 2, "200"},
		{[]string{"queue", "pause", "--reason", "x", "--platform", "nobody"}, 1, "PLATFORM_UNKNOWN"},
		{[]string{"queue", "list", "--state", "COMPLETED"}, 2, "QUEUED"},
		{[]string{"queue", "list", "--limit", "0"}, 2, "1 to 100000"},
		{[]string{"queue", "list", "--limit", "100001"}, 2, "1 to 100000"},
		{[]string{"queue", "list", "--limit", "99999999999"}, 2, "--limit"},
		{[]string{"dlq", "list", "--older-than", "-1d"}, 2, "7d"},
		{[]string{"dlq", "list", "--older-than", "99999d"}, 2, "36500d"},
		{[]string{"dlq", "list", "--reason", "too old"}, 2, "TOO_OLD"},
		{[]string{"dlq", "show", "nothing"}, 1, "UNBIND_NOT_FOUND"},
		{[]string{"dlq", "replay"}, 2, "which?"},
		{[]string{"dlq", "replay", "--all"}, 2, "--dry-run"},
		{[]string{"dlq", "replay", "--platform", "sim-sync"}, 2, "--yes"},
		{[]string{"dlq", "replay", "--all", "--platform", "x", "--yes"}, 2, "--all"},
		{[]string{"dlq", "replay", id, "--all"}, 2, "not both"},
		{[]string{"dlq", "replay", typed}, 2, "argument 1 is no order id"},
		{[]string{"dlq", "replay", id, "--rate", "-5/s"}, 2, "10/s"},
		{[]string{"dlq", "replay", id, "--rate", "0"}, 2, "1/h"},
		{[]string{"dlq", "replay", id, "--rate", "1001/s"}, 2, "1000/s"},
		{[]string{"dlq", "replay", "--all", "--yes", "--limit", "-1"}, 2, "--limit"},
		{[]string{"dlq", "replay", id}, 1, "1 of 1 could not be replayed"},
		{[]string{"dlq", "discard", id}, 2, "--note is required"},
		{[]string{"dlq", "discard", id, "--note", typed}, 2, "may be a number"},
		{[]string{"dlq", "discard", "--note", "x"}, 2, "which?"},
	} {
		r := h.cli(c.args...)
		if r.code != c.code || !strings.Contains(r.stderr, c.says) || strings.Contains(r.stdout+r.stderr, typed) {
			t.Errorf("%v: exit code %d, want %d with %q: %s%s", c.args, r.code, c.code, c.says, r.stdout, r.stderr)
		}
	}
	for _, args := range [][]string{{"dlq", "replay", "--all", "--yes"}, {"dlq", "discard", "--all", "--note", "x", "--yes"}} {
		if r := h.cli(args...).must(t); !strings.Contains(r.stdout, "chosen        0") {
			t.Errorf("%v where there is none: %+v", args, r)
		}
	}
	for _, args := range [][]string{{"queue", "list"}, {"queue", "pause", "--reason", "x"}, {"queue", "resume"}, {"dlq", "list"}, {"dlq", "show", id}, {"dlq", "replay", id}} {
		if r := tongcha(t, append(args, "--data", t.TempDir())...); r.code != exitUnreachable {
			t.Errorf("%v without a hub: %+v", args, r)
		}
	}
	for _, name := range []string{"replay", "discard"} {
		help := tongcha(t, "dlq", name, "--help").must(t).stdout
		for _, word := range []string{"Exit codes: 0 ", "3 no hub", "Examples:", "--dry-run"} {
			if !strings.Contains(help, word) {
				t.Errorf("the help of dlq %s does not say %q", name, word)
			}
		}
	}
}
