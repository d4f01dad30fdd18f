package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/tongcha/tongcha/connectors/sdk"
	"github.com/tongcha/tongcha/server"
	"github.com/tongcha/tongcha/server/pki"
)

const (
	trustDomain = "bench.tongcha.example"
	product     = "商城"
)

// papers is what a platform needs to be one.
type papers struct {
	ID          string
	Credentials sdk.Credentials
}

// place is a platform as the arms know it.
type place struct {
	ID, Connector, HTTP string
}

// startPlatforms runs each platform in a process of its own. The hub's authority
// vouches for them.
func (b *bench) startPlatforms() ([]place, error) {
	ca, err := server.OpenAuthority(b.file("hub"), trustDomain)
	if err != nil {
		return nil, err
	}
	var all []place
	for i := range b.platforms {
		id := fmt.Sprintf("platform-%03d", i)
		pair, _, err := ca.Issue(pki.RolePlatform, id, pki.IssueOptions{})
		if err != nil {
			return nil, err
		}
		p := place{ID: id}
		_, err = b.start("platform", papers{id, sdk.Credentials{CertPEM: pair.CertPEM, KeyPEM: pair.KeyPEM, CAPEM: ca.CertPEM()}}, &p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", id, err)
		}
		all = append(all, p)
	}
	return all, nil
}

// row is what a platform answers over HTTP, of the size of a row of the hub.
type row struct {
	PlatformID   string    `json:"platformId"`
	DisplayName  string    `json:"displayName"`
	Category     string    `json:"category"`
	State        string    `json:"state"`
	AccountCount int       `json:"accountCount"`
	Products     []string  `json:"products"`
	Functions    []string  `json:"functions"`
	AnswerTime   time.Time `json:"answerTime"`
}

// answers is a platform that always finds one account.
type answers struct{ id string }

// Lookup implements sdk.Handler.
func (answers) Lookup(context.Context, sdk.Subject) (sdk.Answer, error) {
	return sdk.Found(sdk.Account{Ref: "account", Product: product}), nil
}

// ServeHTTP is the same answer for those who speak HTTP.
func (a answers) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(row{
		PlatformID: a.id, DisplayName: "平台 " + a.id, Category: "网上购物", State: "ANSWER_STATE_BOUND", AccountCount: 1,
		Products: []string{product}, Functions: []string{"LOOKUP"}, AnswerTime: time.Now().UTC().Truncate(time.Millisecond),
	})
}

// platformMain serves one platform both ways.
func platformMain(in *json.Decoder, out *json.Encoder) error {
	var p papers
	if err := in.Decode(&p); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	a := answers{p.ID}
	address, err := listen(a)
	if err != nil {
		return err
	}
	ctx, end := context.WithCancel(context.Background())
	go func() { untilEOF(in); end() }()
	if err := out.Encode(place{p.ID, l.Addr().String(), address}); err != nil {
		return err
	}
	return sdk.Serve(ctx, sdk.Config{
		PlatformID: p.ID, DisplayName: "平台 " + p.ID, Products: []string{product}, Listener: l, Credentials: p.Credentials,
		Logger: slog.New(slog.DiscardHandler),
	}, a)
}
