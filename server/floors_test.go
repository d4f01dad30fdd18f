package server_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/tongcha/tongcha/"

// floor is where a package stands: it may import packages of ours on lower
// floors, those of its own floor that are named, and third-party modules whose
// path begins with one of third.
type floor struct {
	level   int
	besides []string
	third   []string
}

// Third-party modules, by what they are for.
var (
	grpcModules    = []string{"google.golang.org/grpc", "google.golang.org/genproto/googleapis/rpc", "google.golang.org/protobuf"}
	protobufModule = []string{"google.golang.org/protobuf"}
)

func with(more []string, mods ...string) []string { return append(slices.Clone(more), mods...) }

// floors is the table of the house. A package that isn't in it fails the test.
func floors() map[string]floor {
	return map[string]floor{
		"gen":             {level: 0, third: with(grpcModules, "github.com/grpc-ecosystem/grpc-gateway")},
		"server/fault":    {level: 1},
		"server/logtest":  {level: 1},
		"server/phone":    {level: 2},
		"server/calendar": {level: 2},
		"server/clock":    {level: 2, third: []string{"golang.org/x/sys/unix"}},
		"server/watch":    {level: 2},
		"server/seal":     {level: 2, third: []string{"github.com/tink-crypto/tink-go"}},
		"server/pki":      {level: 2},
		"server/receipt":  {level: 2},
		"server/platform": {level: 3},
		"server/verify":   {level: 4},
		"server/lookup":   {level: 4},
		"server/unbind":   {level: 4},
		"server/coverage": {level: 4},

		"server/store/bolt/group": {level: 2, third: []string{"go.etcd.io/bbolt"}},

		"server/store/postgres/pgtest": {level: 1},
		"server/store/postgres":        {level: 5, third: with(protobufModule, "github.com/jackc/pgx/v5")}, // the one package with it

		"server/store/bolt":      {level: 5, third: protobufModule},
		"server/store/storetest": {level: 5},
		"server/link":            {level: 5, third: with(grpcModules, "golang.org/x/time")},
		"server/sms":             {level: 5},
		"server/rpc":             {level: 5, third: with(grpcModules, "golang.org/x/time")},
		"server/admin":           {level: 5, third: grpcModules},
		"server/gateway":         {level: 5, third: with(grpcModules, "github.com/grpc-ecosystem/grpc-gateway")},
		"server/trace":           {level: 5, third: []string{"go.opentelemetry.io/otel"}},
		"server":                 {level: 6, third: with(grpcModules, "github.com/prometheus/client_golang")},

		"connectors/internal/lines": {level: 5},
		"connectors/sdk":            {level: 5, besides: []string{"connectors/internal/lines"}, third: grpcModules},
		"connectors/sdk/sdktest":    {level: 6, third: grpcModules},
		"connectors/simulator":      {level: 6, besides: []string{"connectors/internal/lines"}, third: grpcModules},

		"cmd/tongcha":       {level: 7, third: with(grpcModules, "github.com/spf13/", "go.yaml.in/yaml", "golang.org/x/text")},
		"cmd/tongcha/chaos": {level: 7, third: grpcModules},
	}
}

// upTo limits packages to lower floors than their level allows: floor 4 and the
// transports that the design keeps narrow.
func upTo(pkg string) int {
	switch pkg {
	case "server/link":
		return 3
	case "server/gateway":
		return 1
	}
	return 99
}

// TestFloors parses imports rather than asking `go list`: what the test cache
// remembers of that would hide a breach.
func TestFloors(t *testing.T) {
	table := floors()
	seen := make(map[string]bool)
	eachFile(t, func(pkg, file string, imports []string) {
		seen[pkg] = true
		here, ok := table[pkg]
		if !ok {
			t.Errorf("%s: package %s has no floor; give it one", file, pkg)
			return
		}
		for _, path := range imports {
			if why := breach(table, pkg, here, path); why != "" {
				t.Errorf("%s imports %s: %s", file, path, why)
			}
		}
	})
	for pkg := range table {
		if !seen[pkg] {
			t.Errorf("the table has %s, but there is no such package", pkg)
		}
	}
}

func breach(table map[string]floor, pkg string, here floor, path string) string {
	own, isOwn := strings.CutPrefix(path, module)
	if !isOwn {
		return foreign(here, path)
	}
	if strings.HasPrefix(own, "gen/") || own == "gen" {
		own = "gen"
		if here.level >= 1 && here.level <= 4 {
			return "floors 1 to 4 know nothing of generated code"
		}
	}
	target := table[own]
	switch {
	case slices.Contains(here.besides, own):
	case crosses(pkg, own):
		return "the hub and the connectors meet on the wire only"
	case target.level >= here.level:
		return "it is not on a lower floor"
	case target.level > upTo(pkg):
		return "this package reaches less far down"
	}
	return ""
}

func crosses(pkg, own string) bool {
	hub := func(p string) bool { return p == "server" || strings.HasPrefix(p, "server/") }
	connector := func(p string) bool { return strings.HasPrefix(p, "connectors/") }
	return hub(pkg) && connector(own) || connector(pkg) && hub(own)
}

// foreign checks an import that isn't ours: the standard library has no dot in
// its first element.
func foreign(here floor, path string) string {
	first, _, _ := strings.Cut(path, "/")
	if !strings.Contains(first, ".") {
		return ""
	}
	for _, m := range here.third {
		if strings.HasPrefix(path, m) {
			return ""
		}
	}
	return "this floor may not use that module"
}

// eachFile visits every Go file of the product: tests may reach further.
func eachFile(t *testing.T, visit func(pkg, file string, imports []string)) {
	t.Helper()
	root := ".."
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		rel, rerr := filepath.Rel(root, path)
		if err != nil || rerr != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); rel != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules" || rel == "tools" || rel == "bench") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") || strings.HasSuffix(rel, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		var imports []string
		for _, i := range f.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			imports = append(imports, p)
		}
		pkg := filepath.ToSlash(filepath.Dir(rel))
		if strings.HasPrefix(pkg, "gen/") {
			pkg = "gen"
		}
		visit(pkg, rel, imports)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
