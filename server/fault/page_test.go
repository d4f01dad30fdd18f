package fault_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestNamedTestsExist: docs/errors.md names no test that is not there.
func TestNamedTestsExist(t *testing.T) {
	page, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	_, bad, found := strings.Cut(string(page), "## Bad input")
	if !found {
		t.Fatal("the page has no part about bad input")
	}
	mention := regexp.MustCompile("`(server/[a-z/]+)` ([^`|;]+)")
	name := regexp.MustCompile(`\b[A-Z][a-z]+[A-Z]\w+|\bTries\b|\bCancel\b`)
	named := 0
	for _, m := range mention.FindAllStringSubmatch(bad, -1) {
		source := sourceOf(t, filepath.Join("../..", m[1]))
		for _, n := range name.FindAllString(m[2], -1) {
			named++
			if !strings.Contains(source, "func "+n+"(") && !strings.Contains(source, `"`+n+`":`) {
				t.Errorf("%s has no %s", m[1], n)
			}
		}
	}
	if named < 50 {
		t.Errorf("the page names %d tests: is it read rightly?", named)
	}
}

// sourceOf is all Go source of a folder.
func sourceOf(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	return all.String()
}
