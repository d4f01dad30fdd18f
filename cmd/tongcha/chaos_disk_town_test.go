//go:build chaos

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	bbolt "go.etcd.io/bbolt"
)

// town is a data folder in which people have proved their numbers and looked up
// what is bound to them, but ordered nothing yet. Every run begins with a copy.
type town struct {
	data      string
	files     []string // --accounts and --holders
	platforms []string
	people    []townsman
	txid      int // the database's last transaction
}

type townsman struct {
	number, token, lookupID string
}

const townSuffix = "010101"

// newTown makes a town of people with one old account at each platform.
func newTown(t *testing.T, people, platforms int) *town {
	t.Helper()
	w := &town{data: filepath.Join(t.TempDir(), "town")}
	accounts := "platform_id,phone_number,product,bound_at,id_suffix\n"
	holders := "phone_number,id_suffix,holder_since\n"
	for p := range platforms {
		w.platforms = append(w.platforms, fmt.Sprintf("shop-%02d", p))
	}
	for i := range people {
		number := fmt.Sprintf("1380000%04d", 1000+i)
		w.people = append(w.people, townsman{number: number})
		holders += number + "," + townSuffix + ",2020-01-01\n"
		for _, p := range w.platforms {
			accounts += p + "," + number + ",账号,2015-01-01,\n"
		}
	}
	w.files = []string{"--accounts", write(t, "accounts.csv", accounts), "--holders", write(t, "holders.csv", holders)}
	h := startDev(t, w.data, w.files...)
	w.moveIn(t, h)
	h.stop()
	w.txid, _ = lastTransaction(t, w.data)
	return w
}

// moveIn lets everybody prove a number and look it up, a few at a time.
func (w *town) moveIn(t *testing.T, h *hub) {
	t.Helper()
	places := make(chan struct{}, 8)
	var all sync.WaitGroup
	for i := range w.people {
		all.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			if err := w.people[i].settle(h, w.platforms); err != nil {
				t.Errorf("a person can't begin: %v", err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

func (m *townsman) settle(h *hub, platforms []string) error {
	p := person{hub: h, number: m.number, suffix: townSuffix}
	var v struct{ VerificationID, SessionToken string }
	if err := call(h.base, "POST", "/v1/verifications", "", p.request(), &v); err != nil {
		return err
	}
	// The last four digits differ from person to person.
	re := regexp.MustCompile(`^SMS to \S+` + m.number[7:] + `: \D*(\d{6})\D`)
	code := ""
	for end := soon(); code == "" && time.Now().Before(end); {
		found, changed := h.stdout.find(0, re)
		if found != nil {
			code = found[1]
			break
		}
		select {
		case <-changed:
		case <-time.After(time.Until(end)):
		}
	}
	if err := call(h.base, "POST", "/v1/verifications/"+v.VerificationID+":confirm", "", map[string]string{"code": code}, &v); err != nil {
		return err
	}
	m.token = v.SessionToken
	var l lookupBody
	if err := call(h.base, "POST", "/v1/lookups", m.token, map[string]any{"platformIds": platforms}, &l); err != nil {
		return err
	}
	m.lookupID = l.LookupID
	for end := soon(); l.State != "LOOKUP_STATE_COMPLETE" && time.Now().Before(end); {
		if err := call(h.base, "GET", fmt.Sprintf("/v1/lookups/%s?wait=10s&sinceRevision=%d", l.LookupID, l.Revision), m.token, nil, &l); err != nil {
			return err
		}
	}
	if l.Answered != len(platforms) {
		return fmt.Errorf("%d of %d platforms answered", l.Answered, len(platforms))
	}
	return nil
}

// copyTo makes a copy of the folder.
func (w *town) copyTo(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("cp", "-a", w.data, dir).CombinedOutput()
	if err != nil {
		t.Fatalf("cp: %v %s", err, out)
	}
	return dir
}

// refusal is an answer that is no success.
type refusal struct {
	status int
	reason string
}

func (r refusal) Error() string { return fmt.Sprintf("%d %s", r.status, r.reason) }

// call asks a hub that may be gone at any time; into may be nil.
func call(base, method, path, token string, body, into any) error {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequest(method, base+path, content)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return refusal{resp.StatusCode, reply{body: got}.reason()}
	}
	return json.Unmarshal(got, into)
}

// promise is an order that the hub has acknowledged.
type promise struct {
	id, platform string
	person       int
	asked        time.Time // when the request was sent
}

// orderAll sends one order for each person and platform, some at a time, until all
// are made or the hub refuses one or is gone. It returns what was acknowledged and
// the refusals.
func (w *town) orderAll(base string, atOnce int) (made []promise, refused []error) {
	type task struct{ person, platform int }
	tasks := make(chan task, len(w.people)*len(w.platforms))
	for p := range w.platforms {
		for i := range w.people {
			tasks <- task{i, p}
		}
	}
	close(tasks)
	var mu sync.Mutex
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			for task := range tasks {
				p, err := w.order(base, task.person, w.platforms[task.platform])
				mu.Lock()
				if err == nil {
					made = append(made, p)
				} else {
					refused = append(refused, err)
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	all.Wait()
	return made, refused
}

func (w *town) order(base string, who int, platform string) (promise, error) {
	m, asked := w.people[who], time.Now()
	var got ordersBody
	err := call(base, "POST", "/v1/unbinds", m.token, map[string]any{
		"lookupId": m.lookupID, "platformIds": []string{platform}, "requestId": m.number + "-" + platform,
	}, &got)
	if err != nil {
		return promise{}, err
	}
	if len(got.Unbinds) != 1 || got.Unbinds[0].UnbindID == "" {
		return promise{}, fmt.Errorf("no order: %+v", got)
	}
	return promise{id: got.Unbinds[0].UnbindID, platform: platform, person: who, asked: asked}, nil
}

// checkKept looks at a hub that was started again: every promise is kept and no
// order is there twice; each ends, with one effect. It returns how many orders
// there are in all.
func (w *town) checkKept(t *testing.T, h *hub, made []promise) int {
	t.Helper()
	there := make(map[string]string)
	for i, m := range w.people {
		seen := make(map[string]string)
		for _, o := range w.ended(t, h, i) {
			there[o.UnbindID] = o.PlatformID
			if other := seen[o.PlatformID]; other != "" {
				t.Errorf("two orders of one person at %s: %s and %s", o.PlatformID, other, o.UnbindID)
			}
			seen[o.PlatformID] = o.UnbindID
		}
		_ = m
	}
	for _, p := range made {
		if there[p.id] != p.platform {
			t.Errorf("order %s at %s was acknowledged and is lost", p.id, p.platform)
		}
	}
	done := effects(t, h.data)
	for id, platform := range there {
		if n := done[id+" at "+platform]; n != 1 {
			t.Errorf("order %s at %s had %d effects", id, platform, n)
		}
	}
	return len(there)
}

// ended waits until all orders of a person are completed, and returns them.
func (w *town) ended(t *testing.T, h *hub, who int) []orderBody {
	t.Helper()
	for end := soon(); ; {
		var all ordersBody
		if err := call(h.base, "GET", "/v1/unbinds?pageSize=100", w.people[who].token, nil, &all); err != nil {
			t.Fatalf("orders after the restart: %v", err)
		}
		open := 0
		for _, o := range all.Unbinds {
			if o.State != "UNBIND_STATE_COMPLETED" {
				open++
			}
		}
		if open == 0 {
			return all.Unbinds
		}
		if time.Now().After(end) {
			t.Fatalf("%d orders are still open: %+v", open, all)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// address waits for the hub's address; "" where it ended before it was ready.
func (h *hub) address() string {
	ready := regexp.MustCompile(`^  REST     (http://\S+)`)
	for end := time.After(patience); ; {
		found, changed := h.stdout.find(0, ready)
		if found != nil {
			return found[1]
		}
		select {
		case <-changed:
		case <-h.ended:
			return ""
		case <-end:
			h.t.Fatal("the hub is neither ready nor gone")
		}
	}
}

// lastTransaction opens the database as it lies there, without writing, checks its
// pages, and returns the id of the last transaction and what is wrong.
func lastTransaction(t *testing.T, data string) (id int, problems error) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(data, "hub", "tongcha.db"), 0o600, &bbolt.Options{ReadOnly: true, Timeout: patience, PreLoadFreelist: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		id = tx.ID()
		for err := range tx.Check() {
			problems = errors.Join(problems, err)
		}
		return nil
	})
	return id, errors.Join(err, problems)
}

// sizeOf is a file's size.
func sizeOf(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// lastWord is the one line in which a hub says why it ended. Lines of the log may
// come after it: the process ends while they are written.
func lastWord(t *testing.T, stderr string) string {
	t.Helper()
	var said []string
	for line := range strings.Lines(stderr) {
		if strings.HasPrefix(line, "tongcha: ") {
			said = append(said, strings.TrimSpace(line))
		}
	}
	if len(said) != 1 {
		t.Errorf("it says %d times why it ended: %q", len(said), said)
		return ""
	}
	return said[0]
}
