package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// bound is in each platform's row, with every arm.
const bound = `"ANSWER_STATE_BOUND"`

// result is one measurement of an arm.
type result struct {
	arm      string
	rate     float64 // whole lookups in a second
	p50, p99 time.Duration
	failed   int
}

// load keeps every client at work for so many seconds. A lookup that lacks a row
// has failed, and is in no other figure.
func (b *bench) load(a arm, seconds float64) result {
	r := result{arm: a.name}
	var mu sync.Mutex
	var took []time.Duration
	began := time.Now()
	end := began.Add(time.Duration(seconds * float64(time.Second)))
	var all sync.WaitGroup
	for client := range b.clients {
		all.Go(func() {
			var mine []time.Duration
			failed := 0
			for time.Now().Before(end) {
				from := time.Now()
				answer, err := a.look(client)
				if err != nil || !b.whole(answer) {
					failed++
					continue
				}
				mine = append(mine, time.Since(from))
			}
			mu.Lock()
			defer mu.Unlock()
			took, r.failed = append(took, mine...), r.failed+failed
		})
	}
	all.Wait()
	if len(took) > 0 {
		slices.Sort(took)
		r.rate = float64(len(took)) / time.Since(began).Seconds()
		r.p50, r.p99 = took[len(took)/2], took[len(took)*99/100]
	}
	return r
}

func (b *bench) whole(answer []byte) bool { return bytes.Count(answer, []byte(bound)) == b.platforms }

// medianOf is the measurement with the median rate, and the failures of all.
func medianOf(results []result, arm string) result {
	var own []result
	failed := 0
	for _, r := range results {
		if r.arm == arm {
			own, failed = append(own, r), failed+r.failed
		}
	}
	slices.SortFunc(own, func(a, b result) int { return cmp.Compare(a.rate, b.rate) })
	m := own[len(own)/2]
	m.failed = failed
	return m
}

// newClient keeps as many connections as there are clients.
func newClient(connections int) *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy, t.MaxIdleConns, t.MaxIdleConnsPerHost = nil, 0, connections
	return &http.Client{Transport: t, Timeout: 30 * time.Second}
}

// fetch makes one request and reads the answer; any but 200 is an error.
func fetch(c *http.Client, method, url, token string, body io.Reader) ([]byte, error) {
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s %.300s", method, req.URL.Path, resp.Status, answer)
	}
	return answer, err
}
