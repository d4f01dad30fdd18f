//go:build chaos

package chaos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"time"
)

// citizen is a person who proves a number, looks up, orders, and watches until
// every order has ended, however often the hub dies meanwhile.
type citizen struct {
	a        *arena
	n        int // among the people of the arena
	number   string
	token    string
	lookupID string
	requests []request
	seen     map[string]string // state and length of the history of each order, as last written down
}

// request is a request for orders, which is repeated as it stands.
type request struct {
	id        string
	platforms []string
}

func (a *arena) newCitizen() *citizen {
	n := int(a.people.Add(1))
	return &citizen{a: a, n: n, number: fmt.Sprintf("1380%07d", n), seen: make(map[string]string)}
}

// live is a person's whole way. It returns true once every order has ended.
func (c *citizen) live() bool {
	if !c.prepare() {
		return false
	}
	c.split()
	var all sync.WaitGroup
	for _, r := range c.requests {
		all.Go(func() { c.place(r) })
	}
	all.Wait()
	return c.follow()
}

// prepare proves the number and looks up, in a calm run. A number whose code was
// lost in a crash can't be proved for a minute, so that person gives up.
func (c *citizen) prepare() bool {
	c.a.waiting.Add(1)
	defer c.a.waiting.Add(-1)
	run, ok := c.a.victim.await(c.a.ctx, true)
	if !ok || !c.prove(run) {
		return false
	}
	for range 5 {
		if run, ok = c.a.victim.await(c.a.ctx, true); !ok {
			return false
		}
		if c.lookUp(run) {
			return true
		}
	}
	return false
}

func (c *citizen) prove(run hubRun) bool {
	var v struct {
		VerificationID string `json:"verificationId"`
	}
	ask := map[string]any{
		"phoneNumber": c.number, "idSuffix": "15002X",
		"consent": map[string]any{"version": "1", "scopes": []string{"LOOKUP", "UNBIND"}},
	}
	if r, err := c.do(run, "POST", "/v1/verifications", ask, ""); err != nil || !c.ok(r, &v) {
		return false
	}
	var code string
	select {
	case code = <-c.a.messages.of(c.number):
	case <-time.After(2 * time.Second):
		return false
	case <-c.a.ctx.Done():
		return false
	}
	var s struct {
		SessionToken string `json:"sessionToken"`
	}
	r, err := c.do(run, "POST", "/v1/verifications/"+v.VerificationID+":confirm", map[string]string{"code": code}, onConfirm)
	if err != nil || !c.ok(r, &s) {
		return false
	}
	c.token = s.SessionToken
	return true
}

// lookUp asks every platform and wants an answer of each.
func (c *citizen) lookUp(run hubRun) bool {
	var l lookupBody
	r, err := c.do(run, "POST", "/v1/lookups", map[string]any{}, "")
	for err == nil && c.ok(r, &l) {
		if l.State == "LOOKUP_STATE_COMPLETE" {
			c.lookupID = l.LookupID
			return l.Answered == len(manners())
		}
		r, err = c.do(run, "GET", fmt.Sprintf("/v1/lookups/%s?wait=3s&sinceRevision=99", l.LookupID), nil, "")
	}
	return false
}

// split makes one to three requests, each platform in one of them.
func (c *citizen) split() {
	n := 1 + c.a.below(3)
	for i := range n {
		c.requests = append(c.requests, request{id: fmt.Sprintf("request-%d", i)})
	}
	for i, w := range c.a.perm(len(c.a.witnesses)) {
		r := &c.requests[i%n]
		r.platforms = append(r.platforms, c.a.witnesses[w].id)
	}
}

// place sends a request until it is answered; now and then three times at once,
// and now and then an order is taken back at once.
func (c *citizen) place(r request) {
	c.a.pause(0, 100*time.Millisecond)
	times := 1
	if c.a.below(3) == 0 {
		times = 3
	}
	var all sync.WaitGroup
	for i := range times {
		all.Go(func() {
			run, orders := c.request(r)
			if i == 0 && len(orders) > 0 && c.a.below(3) == 0 {
				c.takeBack(run, orders[c.a.below(len(orders))].UnbindID)
			}
		})
	}
	all.Wait()
}

// request sends a request until it is answered and writes down what is
// acknowledged by that.
func (c *citizen) request(r request) (hubRun, []orderBody) {
	for {
		run, ok := c.a.victim.await(c.a.ctx, false)
		if !ok {
			return run, nil
		}
		body := map[string]any{"lookupId": c.lookupID, "platformIds": r.platforms, "requestId": r.id}
		reply, err := c.do(run, "POST", "/v1/unbinds", body, onOrder)
		var got ordersBody
		if err == nil && c.ok(reply, &got) {
			c.taken(run, r, got)
			return run, got.Unbinds
		}
		c.a.pause(time.Millisecond, 10*time.Millisecond)
	}
}

func (c *citizen) taken(run hubRun, r request, got ordersBody) {
	if len(got.Unbinds) != len(r.platforms) {
		c.a.ledger.breach("%s: %d orders for %d platforms", c.number, len(got.Unbinds), len(r.platforms))
	}
	for _, o := range got.Unbinds {
		if o.UnbindID == "" {
			c.a.ledger.breach("%s at %s: no order: %+v", c.number, o.PlatformID, o.Error)
			continue
		}
		c.a.ledger.add(record{What: recTaken, Run: run.number, Person: c.number, Request: r.id, Platform: o.PlatformID, Order: o.UnbindID})
	}
}

// takeBack cancels an order if it was not sent yet; once only, for what becomes
// of a try that a kill cut off is seen later.
func (c *citizen) takeBack(run hubRun, order string) {
	r, err := c.do(run, "POST", "/v1/unbinds/"+order+":cancel", map[string]any{}, onCancel)
	switch {
	case err != nil:
	case r.status == http.StatusOK:
		c.a.ledger.add(record{What: recCancelled, Run: run.number, Person: c.number, Order: order})
	case r.reason() != "ALREADY_SENT" && r.reason() != "ALREADY_TERMINAL":
		c.unexpected(r)
	}
}

// takeBackOne tries to cancel an order that may have been sent long ago.
func (c *citizen) takeBackOne(run hubRun) {
	for order, now := range c.seen { // any
		if !strings.HasPrefix(now, "UNBIND_STATE_C") {
			c.takeBack(run, order)
			return
		}
	}
}

// follow watches until every order has ended, and repeats requests after
// restarts; all of them in the end.
func (c *citizen) follow() bool {
	last := 0
	for {
		run, ok := c.a.victim.await(c.a.ctx, false)
		if !ok {
			return false
		}
		if run.number != last && c.a.below(3) == 0 {
			c.request(c.requests[c.a.below(len(c.requests))])
		}
		last = run.number
		if c.a.victim.wants(onCancel) || c.a.below(30) == 0 {
			c.takeBackOne(run)
		}
		if ended, ok := c.look(run); ok && ended {
			break
		}
		c.a.pause(20*time.Millisecond, 150*time.Millisecond)
	}
	for _, r := range c.requests {
		c.request(r)
	}
	for {
		run, ok := c.a.victim.await(c.a.ctx, false)
		if !ok || c.list(run) {
			return ok
		}
		c.a.pause(time.Millisecond, 10*time.Millisecond)
	}
}

// look reads the person's orders and writes down what is new; ended says that
// all of them have.
func (c *citizen) look(run hubRun) (ended, ok bool) {
	r, err := c.do(run, "GET", "/v1/unbinds", nil, "")
	var list ordersBody
	if err != nil || !c.ok(r, &list) {
		return false, false
	}
	ended = len(list.Unbinds) == len(c.a.witnesses)
	for _, o := range list.Unbinds {
		ended = ended && rank(o.State) == 4
		if now := fmt.Sprint(o.State, len(o.History)); c.seen[o.UnbindID] != now {
			c.seen[o.UnbindID] = now
			c.a.ledger.add(record{What: recSeen, Run: run.number, Person: c.number, Order: o.UnbindID, State: o.State, History: historyOf(o)})
		}
	}
	return ended, true
}

// historyOf is what stands on disk: SENDING is added when an attempt has ended.
func historyOf(o orderBody) []string {
	var h []string
	for _, s := range o.History {
		h = append(h, fmt.Sprintf("%s/%d/%s", strings.TrimPrefix(s.State, "UNBIND_STATE_"), s.Attempt, s.Reason))
	}
	return h
}

// audit looks once more at orders that ended long ago: true if that was possible.
func (c *citizen) audit() bool {
	run, ok := c.a.victim.await(c.a.ctx, false)
	if !ok {
		return false
	}
	_, ok = c.look(run)
	return ok
}

// list writes down which orders the person has in the end.
func (c *citizen) list(run hubRun) bool {
	r, err := c.do(run, "GET", "/v1/unbinds", nil, "")
	var list ordersBody
	if err != nil || !c.ok(r, &list) {
		return false
	}
	for _, o := range list.Unbinds {
		c.a.ledger.add(record{What: recListed, Person: c.number, Order: o.UnbindID})
	}
	return true
}

// ok decodes a success. Refusals that a client has to live with are no breach.
func (c *citizen) ok(r reply, v any) bool {
	switch r.reason() {
	case "OVERLOADED", "SHUTTING_DOWN", "CODE_RESEND_TOO_SOON", "VERIFICATION_FAILED", "LOOKUP_NOT_FOUND", "SESSION_INVALID":
		return false
	}
	if r.status != http.StatusOK {
		c.unexpected(r)
		return false
	}
	if err := json.Unmarshal(r.body, v); err != nil {
		c.a.ledger.breach("not the JSON wanted: %v: %s", err, r.body)
		return false
	}
	return true
}

func (c *citizen) unexpected(r reply) {
	c.a.ledger.breach("%s was answered %d %s: %s", c.number, r.status, r.reason(), r.body)
}

// do sends a request to one run of the hub. An error says that there was no
// answer, or none that was whole. sent is the event that the request makes.
func (c *citizen) do(run hubRun, method, path string, body any, sent moment) (reply, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return reply{}, err
		}
		content = bytes.NewReader(text)
	}
	ctx := c.a.ctx
	if sent != "" {
		ctx = httptrace.WithClientTrace(ctx, c.events(sent))
	}
	req, err := http.NewRequestWithContext(ctx, method, run.base+path, content)
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Forwarded-For", fmt.Sprintf("10.%d.%d.%d", c.n>>16&255, c.n>>8&255, c.n&255))
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.a.client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, got}, err
}

func (c *citizen) events(sent moment) *httptrace.ClientTrace {
	t := &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { c.a.victim.reached(sent) }}
	if sent == onOrder {
		t.GotFirstResponseByte = func() { c.a.victim.reached(onOrdered) }
	}
	return t
}
