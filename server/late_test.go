package server_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tongcha/tongcha/server"
)

// TestLateAnswerEndToEnd: a platform is silent, the hub restarts, the platform
// answers late; a watch over REST tells it, and one message.
func TestLateAnswerEndToEnd(t *testing.T) {
	s := newSite(t, func(c *server.Config) {
		c.Lookup.PlatformDeadline, c.Lookup.ReaskAfter = 500*time.Millisecond, 10*time.Millisecond
		c.Lookup.ReaskEvery = c.Lookup.ReaskAfter
	})
	shop := s.connector(false)
	shop.silent = true
	s.start()
	s.join(shop.address)
	token := s.session()
	var l struct {
		LookupID, State            string
		Revision, Answered, Silent int
	}
	s.rest("POST", "/v1/lookups", token, map[string]string{}, &l)
	s.rest("GET", "/v1/lookups/"+l.LookupID+"?wait=10s&sinceRevision=1000", token, nil, &l)
	if l.State != "LOOKUP_STATE_COMPLETE" || l.Silent != 1 {
		t.Fatalf("%+v", l)
	}
	s.restart()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.at.HTTP+"/v1/lookups/"+l.LookupID+":watch?untilFinal=true", nil)
	s.must(err)
	req.Close = true
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	s.must(err)
	defer func() { _ = resp.Body.Close() }()
	in := bufio.NewScanner(resp.Body)
	var frames []int
	for in.Scan() {
		var f struct {
			Result *struct{ Revision, Silent int }
		}
		s.must(json.Unmarshal(in.Bytes(), &f))
		if f.Result == nil {
			t.Fatalf("%s", in.Text())
		}
		frames = append(frames, f.Result.Silent)
		shop.mu.Lock()
		shop.silent = false
		shop.mu.Unlock()
	}
	if in.Err() != nil || len(frames) != 2 || frames[0] != 1 || frames[1] != 0 {
		t.Errorf("silent by frame: %v, %v", frames, in.Err())
	}
	s.eventually("the message", func() bool { return s.outbox.told() == 1 })
	s.eventually("the figures", func() bool {
		_, page, err := get("http://" + s.at.Metrics + "/metrics")
		s.must(err)
		return strings.Contains(page, "tongcha_late_answers_total{platform=\"shop\"} 1\n") &&
			strings.Contains(page, "tongcha_late_messages_total{outcome=\"sent\"} 1\n")
	})
	s.rest("GET", "/v1/lookups/"+l.LookupID, token, nil, &l)
	if l.State != "LOOKUP_STATE_COMPLETE" || l.Answered != 1 || l.Silent != 0 {
		t.Errorf("%+v", l)
	}
}
