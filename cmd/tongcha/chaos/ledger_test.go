//go:build chaos

package chaos

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"testing"
)

// record is one thing that somebody outside the hub knows for sure. Fields that
// don't belong to its kind are empty.
type record struct {
	What     string   `json:"what"`          // one of the kinds below
	Run      int      `json:"run,omitempty"` // of the hub: how often it was started
	Person   string   `json:"person,omitempty"`
	Request  string   `json:"request,omitempty"`
	Platform string   `json:"platform,omitempty"`
	Order    string   `json:"order,omitempty"`
	Account  string   `json:"account,omitempty"`
	Attempt  int      `json:"attempt,omitempty"` // as the hub counts them; 0 for a question
	State    string   `json:"state,omitempty"`
	History  []string `json:"history,omitempty"`
	Count    int      `json:"count,omitempty"`
	Text     string   `json:"text,omitempty"`
}

// The kinds of records.
const (
	recTaken     = "taken"     // a request was answered with 200 and this id: Run Person Request Platform Order
	recCancelled = "cancelled" // a cancellation was answered with 200: Run Order
	recSeen      = "seen"      // what a person was shown: Run Order State History
	recListed    = "listed"    // in a person's list after all their orders had ended: Person Order
	recBegin     = "begin"     // a platform was called: Run Platform Order Attempt
	recFinish    = "finish"    // that call is over, or the hub has hung up: Run Platform Order
	recEffect    = "effect"    // a platform carried an order out: Run Platform Order Account
	recApplied   = "applied"   // a report of COMPLETED was answered with "applied": Platform Order
	recCounted   = "counted"   // the hub's own count in the end: Platform State Count
	recBreach    = "breach"    // found on the spot: Text
	recKill      = "kill"      // Run Text
)

// durable are the kinds that are on disk before anybody acts on them: what was
// acknowledged, and what a platform has done.
func (r record) durable() bool {
	return r.What == recTaken || r.What == recCancelled || r.What == recEffect
}

// ledger is a file of records in the order in which they came to be known. Who
// gets to know of something because of a record finds it written before.
type ledger struct {
	mu     sync.Mutex
	f      *os.File
	failed error
}

func newLedger(t *testing.T, path string) *ledger {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return &ledger{f: f}
}

// add writes a record, and waits until it is on disk where its kind wants that.
func (l *ledger) add(r record) {
	line, err := json.Marshal(r)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && l.failed == nil {
		_, err = l.f.Write(append(line, '\n'))
	}
	if err == nil && r.durable() {
		err = l.f.Sync()
	}
	if err != nil && l.failed == nil {
		l.failed = err // what follows would be checked against a torn file
	}
}

// breach notes what broke a promise there and then.
func (l *ledger) breach(format string, args ...any) {
	l.add(record{What: recBreach, Text: fmt.Sprintf(format, args...)})
}

// read returns all records, as they are in the file.
func (l *ledger) read(t *testing.T) []record {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		t.Fatalf("ledger: %v", l.failed)
	}
	f, err := os.Open(l.f.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []record
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}
