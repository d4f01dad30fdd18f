package main

import (
	"fmt"
	"io"
	"time"

	"github.com/tongcha/tongcha/server"
)

// banner is what dev prints once it is ready: where everything is and what to
// try.
type banner struct {
	server.Addresses
	Data     string
	Took     time.Duration
	Sim      *simulation
	OwnFiles bool // the rows are the user's own, so no number is printed
}

func (b banner) print(w io.Writer) {
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	p("通查 Tongcha dev is ready (%.2f s)", b.Took.Seconds())
	p("")
	p("  REST     http://%s   (also /openapi.json, /v1/coverage, /metrics)", b.HTTP)
	p("  gRPC     %s   (mutual TLS; for platforms)", b.GRPC)
	p("  carrier  %s   (%s)", b.Sim.carrier.Address(), simCarrier)
	p("  data     %s", b.Data)
	p("")
	t := table{{"PLATFORM", "NAME", "BEHAVIOUR", "CONNECTOR"}}
	for _, s := range b.Sim.platforms {
		t = append(t, []string{s.ID, s.DisplayName, string(s.Behaviour), s.server.Address()})
	}
	t = append(t, []string{string(absentPlatform().ID), absentPlatform().DisplayName, "has not joined", "-"})
	_ = t.write(w, "  ")
	p("")
	number, suffix := demoNumber, demoSuffix
	if b.OwnFiles {
		number, suffix = "NUMBER", "SUFFIX"
		p("Try a number and ID suffix of your files, in another terminal. The code is printed here (\"SMS to …\").")
	} else {
		p("Try the number %s with the ID suffix %s, in another terminal. The code is printed here (\"SMS to …\").", number, suffix)
	}
	p("")
	b.curl(p, number, suffix)
}

func (b banner) curl(p func(string, ...any), number, suffix string) {
	const head = "-H 'Content-Type: application/json'"
	url := "http://" + b.HTTP + "/v1"
	p("  curl -s %s/verifications %s \\", url, head)
	p(`    -d '{"phoneNumber":"%s","idSuffix":"%s","consent":{"version":"1","scopes":["LOOKUP","UNBIND"]}}'`, number, suffix)
	p("  curl -s %s/verifications/VERIFICATION_ID:confirm %s -d '{\"code\":\"CODE\"}'", url, head)
	p("  curl -s -X POST %s/lookups -H 'Authorization: Bearer SESSION_TOKEN'", url)
	p("  curl -s '%s/lookups/LOOKUP_ID?wait=10s&sinceRevision=REVISION' -H 'Authorization: Bearer SESSION_TOKEN'", url)
	p("  curl -s %s/unbinds %s -H 'Authorization: Bearer SESSION_TOKEN' \\", url, head)
	p(`    -d '{"lookupId":"LOOKUP_ID","platformIds":["sim-sync"],"requestId":"first"}'`)
	p("  curl -s %s/unbinds -H 'Authorization: Bearer SESSION_TOKEN'", url)
	p("")
	p("The operator's view: tongcha --data %s queue stats (or platform list, unbind list). Ctrl-C stops.", b.Data)
	p("")
}
