package server

import (
	"context"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"

	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/platform"
)

// alert is one rule of packaging/prometheus/alerts.yaml.
type alert struct {
	Alert       string
	Expr        string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

func alerts(t *testing.T) []alert {
	t.Helper()
	body, err := os.ReadFile("../packaging/prometheus/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []alert
		}
	}
	if err := yaml.Unmarshal(body, &file); err != nil {
		t.Fatal(err)
	}
	var all []alert
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("no alerts")
	}
	return all
}

var descForm = regexp.MustCompile(`^Desc\{fqName: "([^"]+)", .*variableLabels: \{([^}]*)\}\}$`)

// registered is every metric that a hub shows, with its labels.
func registered(t *testing.T) map[string][]string {
	t.Helper()
	m := newMetrics(func(context.Context) (map[platform.ID]coverage.Orders, error) { return nil, nil })
	m.watch(&Hub{})
	m.watchLoad(&Hub{})
	descs := make(chan *prometheus.Desc, 1000)
	m.registry.Describe(descs)
	close(descs)
	out := make(map[string][]string)
	for d := range descs {
		f := descForm.FindStringSubmatch(d.String())
		if f == nil {
			t.Fatalf("can't read %s", d)
		}
		out[f[1]] = strings.FieldsFunc(f[2], func(r rune) bool { return r == ',' || r == ' ' })
	}
	if _, ok := out["tongcha_http_request_seconds"]; !ok || len(out) < 20 {
		t.Fatalf("metrics: %v", out)
	}
	return out
}

// known is every metric an alert may name.
func known(t *testing.T) map[string][]string {
	t.Helper()
	all := registered(t)
	all["up"] = nil // Prometheus's own
	return all
}

var (
	metricForm  = regexp.MustCompile(`\b(tongcha_[a-z_]+|process_[a-z_]+|go_[a-z_]+|up)\b(?:\{([^}]*)\})?`)
	groupForm   = regexp.MustCompile(`\bby \(([^)]*)\)`)
	matcherForm = regexp.MustCompile(`([a-z_]+)(?:=~|!=|!~|=)"`)
)

// TestAlerts: every metric and label of an alert is one that a hub shows, and an
// alert says how bad it is and what it means.
func TestAlerts(t *testing.T) {
	metrics := known(t)
	seen := make(map[string]bool)
	for _, a := range alerts(t) {
		if seen[a.Alert] {
			t.Errorf("%s is there twice", a.Alert)
		}
		seen[a.Alert] = true
		if a.Annotations["summary"] == "" || !slices.Contains([]string{"page", "ticket"}, a.Labels["severity"]) {
			t.Errorf("%s: %v %v", a.Alert, a.Labels, a.Annotations)
		}
		labels := map[string]bool{"job": true, "instance": true, "le": strings.Contains(a.Expr, "_bucket")}
		found := metricForm.FindAllStringSubmatch(a.Expr, -1)
		if len(found) == 0 {
			t.Errorf("%s names no metric", a.Alert)
		}
		for _, f := range found {
			own, ok := lookMetric(metrics, f[1])
			if !ok {
				t.Errorf("%s: no hub shows %s", a.Alert, f[1])
			}
			for _, l := range own {
				labels[l] = true
			}
			for _, m := range matcherForm.FindAllStringSubmatch(f[2], -1) {
				if m[1] != "job" && !slices.Contains(own, m[1]) {
					t.Errorf("%s: %s has no label %s", a.Alert, f[1], m[1])
				}
			}
		}
		for _, g := range groupForm.FindAllStringSubmatch(a.Expr, -1) {
			for l := range strings.SplitSeq(g[1], ",") {
				if !labels[strings.TrimSpace(l)] {
					t.Errorf("%s: nothing has a label %s", a.Alert, l)
				}
			}
		}
	}
}

// lookMetric finds a metric, also by one of a histogram's own names.
func lookMetric(metrics map[string][]string, name string) ([]string, bool) {
	for _, end := range []string{"", "_bucket", "_count", "_sum"} {
		if labels, ok := metrics[strings.TrimSuffix(name, end)]; ok && strings.HasSuffix(name, end) {
			return labels, true
		}
	}
	return nil, false
}

// TestRunbooks: every alert has its section with its expression in
// docs/operations.md, every section an alert, and every metric of ours is listed.
func TestRunbooks(t *testing.T) {
	body, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(body)
	sections := make(map[string]string)
	for part := range strings.SplitSeq(page, "\n### ") {
		title, text, _ := strings.Cut(part, "\n")
		if strings.HasPrefix(title, "Tongcha") {
			sections[title] = text
		}
	}
	for _, a := range alerts(t) {
		text, ok := sections[a.Alert]
		if !ok {
			t.Errorf("%s has no section in docs/operations.md", a.Alert)
			continue
		}
		delete(sections, a.Alert)
		if !strings.Contains(squeeze(text), squeeze(a.Expr)) {
			t.Errorf("the section of %s has another expression than the alert: %s", a.Alert, a.Expr)
		}
		for _, word := range []string{"**For people:**", "**Look:**", "**Do:**", "**Escalate:**"} {
			if !strings.Contains(text, word) {
				t.Errorf("the section of %s lacks %s", a.Alert, word)
			}
		}
	}
	for title := range sections {
		t.Errorf("docs/operations.md has a section %s, but there is no such alert", title)
	}
	for _, name := range slices.Sorted(maps.Keys(known(t))) {
		if strings.HasPrefix(name, "tongcha_") && !regexp.MustCompile("(?m)^\\|.*`"+name+"`.* \\|$").MatchString(page) {
			t.Errorf("docs/operations.md does not list %s", name)
		}
	}
}

func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }
