package main

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func page(t *testing.T, path string) string {
	t.Helper()
	body, err := os.ReadFile("../../" + path)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

var (
	fenceForm  = regexp.MustCompile("(?ms)^```(?:sh|console)\n(.*?)^```")
	inlineForm = regexp.MustCompile("`(tongcha [^`\n]+)`")
	unitForm   = regexp.MustCompile(`(?m)^Exec[A-Za-z]*=-?\S*/(tongcha .+)$`)
	quotedForm = regexp.MustCompile(`'[^']*'|"[^"]*"`)
)

// commandLines is every command of ours that a page names.
func commandLines(text string) []string {
	var out []string
	for _, f := range fenceForm.FindAllStringSubmatch(text, -1) {
		joined := strings.ReplaceAll(f[1], "\\\n", " ")
		for line := range strings.Lines(joined) {
			line, _, _ = strings.Cut(line, " #")
			for part := range strings.SplitSeq(line, "&&") {
				part = strings.TrimPrefix(strings.TrimSpace(part), "$ ")
				if _, after, ok := strings.Cut(part, "/bin/tongcha "); ok { // in a container
					part = "tongcha " + after
				}
				if strings.HasPrefix(part, "tongcha ") {
					out = append(out, part)
				}
			}
		}
	}
	for _, form := range []*regexp.Regexp{inlineForm, unitForm} {
		for _, f := range form.FindAllStringSubmatch(text, -1) {
			out = append(out, f[1])
		}
	}
	return out
}

// TestPagesNameRealCommands: every command in the operator's page, the README's
// section on running a hub and the unit is one, with flags it has.
func TestPagesNameRealCommands(t *testing.T) {
	t.Parallel()
	_, run, _ := strings.Cut(page(t, "README.md"), "\n## Run a hub\n")
	run, _, _ = strings.Cut(run, "\n## ")
	for name, text := range map[string]string{
		"docs/operations.md": page(t, "docs/operations.md"), "README.md": run, "packaging/systemd/tongcha.service": page(t, "packaging/systemd/tongcha.service"),
	} {
		lines := commandLines(strings.ReplaceAll(text, "./tongcha ", "tongcha "))
		if len(lines) < 3 {
			t.Errorf("%s: only %q", name, lines)
		}
		for _, line := range lines {
			words := strings.Fields(strings.ReplaceAll(quotedForm.ReplaceAllString(line, "x"), " …", ""))[1:]
			if words[0] == "COMMAND" {
				continue
			}
			cmd, rest, err := newRoot().Find(words)
			if err != nil {
				t.Errorf("%s: %q: %v", name, line, err)
				continue
			}
			if err := cmd.ParseFlags(rest); errors.Is(err, pflag.ErrHelp) {
				continue
			} else if err != nil {
				t.Errorf("%s: %q: %v", name, line, err)
				continue
			}
			if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil && !strings.HasSuffix(line, cmd.Name()) { // else it is only named
				t.Errorf("%s: %q: %v", name, line, err)
			}
		}
	}
}

// TestExampleConfig: the example names every setting of serve, with its default
// where it has one, and is a file that serve takes with nothing commented out.
func TestExampleConfig(t *testing.T) {
	t.Parallel()
	example := page(t, "packaging/tongcha.yaml")
	key := regexp.MustCompile(`(?m)^# ([a-z-]+): (.+)$`)
	keys := make(map[string]string)
	for _, f := range key.FindAllStringSubmatch(example, -1) {
		keys[f[1]] = f[2]
	}
	serve, _ := serveCommand()
	serve.Flags().VisitAll(func(f *pflag.Flag) {
		value, ok := keys[f.Name]
		if !ok {
			t.Errorf("packaging/tongcha.yaml does not name %s", f.Name)
		}
		if _, isList := f.Value.(pflag.SliceValue); !isList && f.DefValue != "" && value != f.DefValue {
			t.Errorf("packaging/tongcha.yaml says %s: %s, the default is %s", f.Name, value, f.DefValue)
		}
	})
	file := write(t, "tongcha.yaml", key.ReplaceAllString(example, "$1: $2"))
	got := shownSettings(t, tongcha(t, "config", "print", "serve", "-o", "json", "--config", file))
	for name := range keys {
		if !strings.HasPrefix(got[name].Origin, file+":") {
			t.Errorf("%s of the example is from %q", name, got[name].Origin)
		}
	}
	tongcha(t, "config", "print", "--config", write(t, "tongcha.yaml", example)).must(t)
}

// TestUnitLetsWrite: what the example has the hub write lies where the unit lets
// it.
func TestUnitLetsWrite(t *testing.T) {
	t.Parallel()
	unit, example := page(t, "packaging/systemd/tongcha.service"), page(t, "packaging/tongcha.yaml")
	folders := map[string]string{"StateDirectory": "/var/lib/", "LogsDirectory": "/var/log/"}
	for _, key := range []string{"data", "trace"} {
		path := regexp.MustCompile(`(?m)^# ` + key + `: (/\S+)$`).FindStringSubmatch(example)
		if path == nil {
			t.Fatalf("the example has no path for %s", key)
		}
		allowed := false
		for directive, parent := range folders {
			name := regexp.MustCompile(`(?m)^` + directive + `=(\S+)$`).FindStringSubmatch(unit)
			allowed = allowed || name != nil && strings.HasPrefix(path[1]+"/", parent+name[1]+"/")
		}
		if !allowed {
			t.Errorf("the unit does not let the hub write %s: %s", key, path[1])
		}
	}
}

// TestContainerBuild: the Dockerfile stamps the variables there are, and asks for
// health with a command there is.
func TestContainerBuild(t *testing.T) {
	t.Parallel()
	docker := page(t, "Dockerfile")
	for _, want := range []string{
		"FROM golang:1.26 ", "CGO_ENABLED=0", "-trimpath", "-X main.builtVersion=", "-X main.builtCommit=",
		`["/usr/local/bin/tongcha", "status", "--live"]`, ":nonroot", "TONGCHA_DATA=/data", "VOLUME /data",
	} {
		if !strings.Contains(docker, want) {
			t.Errorf("the Dockerfile lacks %s", want)
		}
	}
	if !strings.Contains(page(t, "go.mod"), "\ngo 1.26") {
		t.Error("go.mod wants another Go than the Dockerfile has")
	}
	env := regexp.MustCompile(`TONGCHA_[A-Z_]+`)
	known := flagNames(newRoot())
	for _, name := range env.FindAllString(docker, -1) {
		found := false
		for flag := range known {
			found = found || variableOf(flag) == name
		}
		if !found {
			t.Errorf("the Dockerfile sets %s, which is no setting", name)
		}
	}
	if strings.Contains(page(t, ".dockerignore"), "gen\n") {
		t.Error("the build needs gen")
	}
}
