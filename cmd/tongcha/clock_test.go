package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordv1 "github.com/tongcha/tongcha/gen/go/tongcha/record/v1"
)

// largestTime reads the largest time that the file of a hub that is not running
// holds, and puts another in its place if to is not zero.
func largestTime(t *testing.T, data string, to time.Time) (was time.Time) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(data, "hub", "tongcha.db"), 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, k, m := tx.Bucket([]byte("meta")), []byte("meta"), new(recordv1.Meta)
		if err := proto.Unmarshal(b.Get(k), m); err != nil {
			return err
		}
		was = m.GetLargestTime().AsTime()
		if to.IsZero() {
			return nil
		}
		m.LargestTime = timestamppb.New(to)
		v, err := proto.Marshal(m)
		if err != nil {
			return err
		}
		return b.Put(k, v)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return was
}

// TestClockOverAStart: what a hub makes of a machine's clock that is not where its
// file left it.
func TestClockOverAStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keys, data := filepath.Join(dir, "keys.json"), filepath.Join(dir, "data")
	tongcha(t, "keys", "new", keys).must(t)
	gateway := newGateway(t, "")
	args := []string{"--keys", keys, "--sms-gateway", gateway.URL}
	begin := time.Now()
	h, _ := startServe(t, data, args...)
	h.status()
	h.stop()
	if at := largestTime(t, data, time.Time{}); at.Before(begin) || at.After(time.Now()) {
		t.Errorf("noted %v", at)
	}
	long := time.Now().Add(-40 * 24 * time.Hour)
	largestTime(t, data, long)
	for _, command := range [][]string{{"serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--metrics", "127.0.0.1:0"}, {"config", "validate", "serve"}} {
		r := tongcha(t, append(append(command, args...), "--data", data)...)
		if r.code != exitFailure || !strings.Contains(r.stdout+r.stderr, "40 days ahead") || !strings.Contains(r.stdout+r.stderr, "--accept-clock") || !strings.Contains(r.stdout+r.stderr, "timedatectl") {
			t.Errorf("%s, 40 days ahead: exit code %d: %s%s", command[0], r.code, r.stdout, r.stderr)
		}
	}
	if at := largestTime(t, data, time.Time{}); !at.Equal(long) {
		t.Errorf("a refused start noted %v", at)
	}
	h, _ = startServe(t, data, append(args, "--accept-clock")...)
	h.status()
	h.stop()
	h, _ = startServe(t, data, args...) // once was enough
	h.kill()
	largestTime(t, data, time.Now().Add(time.Hour))
	h, _ = startServe(t, data, args...)
	h.wait(h.stderr, 0, `"level":"WARN".*behind the last time the hub noted.*"behind":"(59m5\ds|1h0m0s)"`)
	if s := h.status(); !slices.Equal(s.codes(), []string{"CLOCK_BEHIND"}) || s.StartTime.Before(time.Now().Add(59*time.Minute)) {
		t.Errorf("an hour behind: %+v", s)
	}
	h.stop()
	if at := largestTime(t, data, time.Time{}); at.Before(time.Now().Add(59 * time.Minute)) {
		t.Errorf("the hub went back to %v", at)
	}
}
