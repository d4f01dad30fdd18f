package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/tongcha/tongcha/server"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/verify"
)

// hubPapers is what the hub needs to be one.
type hubPapers struct {
	Data, Profile string
	Platforms     []place
}

// mail is what the hub's process says: where it listens, then each code it sends.
type mail struct{ HTTP, Code string }

// openHub starts a hub and opens a session for each client, as a person would.
func (b *bench) openHub(platforms []place) (arm, error) {
	var at mail
	p, err := b.start("hub", hubPapers{b.file("hub"), b.profile, platforms}, &at)
	if err != nil {
		return arm{}, err
	}
	c, base := newClient(b.clients), "http://"+at.HTTP
	tokens := make([]string, b.clients)
	for i := range tokens {
		if tokens[i], err = session(c, base, p, fmt.Sprintf("139%08d", 10_000_000+i)); err != nil {
			return arm{}, err
		}
	}
	return arm{"Tongcha", func(client int) ([]byte, error) { return lookUp(c, base, tokens[client]) }}, nil
}

// session proves a number: consent, code, token.
func session(c *http.Client, base string, p *process, number string) (string, error) {
	wish, err := json.Marshal(map[string]any{
		"phoneNumber": number, "idSuffix": "29876X", "consent": map[string]any{"version": verify.ConsentVersion, "scopes": []string{verify.ScopeLookup}},
	})
	if err != nil {
		return "", err
	}
	var made struct{ VerificationID string }
	if err := call(c, base+"/v1/verifications", "", string(wish), &made); err != nil {
		return "", err
	}
	var m mail
	if err := p.out.Decode(&m); err != nil {
		return "", err
	}
	var open struct{ SessionToken string }
	err = call(c, base+"/v1/verifications/"+made.VerificationID+":confirm", "", `{"code":"`+m.Code+`"}`, &open)
	return open.SessionToken, err
}

func call(c *http.Client, url, token, body string, out any) error {
	answer, err := fetch(c, http.MethodPost, url, token, strings.NewReader(body))
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, out)
}

// lookUp starts a lookup and waits for its last revision.
func lookUp(c *http.Client, base, token string) ([]byte, error) {
	var l struct{ LookupID string }
	if err := call(c, base+"/v1/lookups", token, "{}", &l); err != nil {
		return nil, err
	}
	return fetch(c, http.MethodGet, base+"/v1/lookups/"+l.LookupID+"?wait=10s&sinceRevision=1000000", token, nil)
}

// post sends codes to the parent.
type post struct{ out *json.Encoder }

// SendCode implements verify.Sender.
func (p post) SendCode(_ context.Context, _ phone.Number, code verify.Code, _ time.Duration) error {
	return p.out.Encode(mail{Code: code.Reveal()})
}

// hubMain is a hub as in production, but for limits that one machine's load
// would meet.
func hubMain(in *json.Decoder, out *json.Encoder) (err error) {
	var p hubPapers
	if err := in.Decode(&p); err != nil {
		return err
	}
	if p.Profile != "" {
		f, err := os.Create(p.Profile)
		if err != nil {
			return err
		}
		defer func() { pprof.StopCPUProfile(); _ = f.Close() }()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
	}
	const most = 1_000_000_000
	cfg := server.DefaultConfig()
	cfg.Data, cfg.TrustDomain, cfg.MakeKeys, cfg.Sender = p.Data, trustDomain, true, post{out}
	cfg.HTTP, cfg.GRPC, cfg.Metrics = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	cfg.Verify.AddressPerDay, cfg.Lookup.PerSession, cfg.Lookup.PerNumberDay = most, most, most
	ctx, end := context.WithCancel(context.Background())
	defer end()
	hub, err := server.Open(ctx, cfg)
	if err != nil {
		return err
	}
	for _, at := range p.Platforms {
		e := platform.Entry{ID: platform.ID(at.ID), DisplayName: "平台 " + at.ID, Category: "网上购物", Address: at.Connector, AddTime: time.Now()}
		if err := hub.Catalogue().Put(ctx, e); err != nil {
			return errors.Join(err, hub.Close())
		}
	}
	go func() { untilEOF(in); end() }()
	return hub.Serve(ctx, func(a server.Addresses) {
		if err := out.Encode(mail{HTTP: a.HTTP}); err != nil {
			end()
		}
	})
}
