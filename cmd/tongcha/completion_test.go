package main

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// offers is what a shell is offered for a command line, without descriptions.
func offers(t *testing.T, cmd *exec.Cmd) []string {
	t.Helper()
	r := finish(t, cmd).must(t)
	var out []string
	for line := range strings.Lines(r.stdout) {
		word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
		out = append(out, word)
	}
	if n := len(out); n == 0 || out[n-1] != ":4" { // no files
		t.Fatalf("%v offers %q", cmd.Args[1:], out)
	}
	return out[:len(out)-1]
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	h := startDev(t, filepath.Join(t.TempDir(), "data"))
	for line, want := range map[string][]string{
		"platform show ":             everySimID(),
		"platform suspend sim-s":     {"sim-silent", "sim-slow", "sim-sync"},
		"platform show sim-sync ":    nil,
		"unbind list --platform ":    everySimID(),
		"unbind list --state ":       orderStates(),
		"unbind list -o ":            {"table", "json"},
		"config print -o ":           {"table", "json", "yaml"},
		"catalogue export -o ":       {"csv"},
		"coverage platforms --by ":   coverageGroups(),
		"coverage platforms --sort ": coverageOrders(),
		"serve --log-level ":         {"debug", "info", "warn", "error"},
	} {
		words := strings.Split(line, " ")
		args := append([]string{"__complete", words[0], words[1], "--data", h.data}, words[2:]...)
		if words[0] == "serve" {
			args = append([]string{"__complete", "serve", "--data", h.data}, words[1:]...)
		}
		if got := offers(t, command(t, args...)); !slices.Equal(got, want) {
			t.Errorf("%q offers %q, want %q", line, got, want)
		}
	}
	categories := offers(t, command(t, "__complete", "platform", "add", "x", "--category", ""))
	if len(categories) != 39 || !slices.Contains(categories, "网上购物") {
		t.Errorf("categories: %q", categories)
	}
	file := write(t, "tongcha.yaml", "data: "+h.data+"\n")
	if got := offers(t, command(t, "__complete", "platform", "show", "--config", file, "")); len(got) != len(everySim) {
		t.Errorf("with --config on the line: %q", got)
	}
	fromEnvironment := command(t, "__complete", "platform", "show", "")
	fromEnvironment.Env = append(fromEnvironment.Env, "TONGCHA_DATA="+h.data)
	if got := offers(t, fromEnvironment); len(got) != len(everySim) {
		t.Errorf("with TONGCHA_DATA: %q", got)
	}
	noHub := finish(t, command(t, "__complete", "platform", "show", "--data", t.TempDir(), "")).must(t)
	if noHub.stdout != ":4\n" || strings.Contains(noHub.stderr, "is it running") {
		t.Errorf("without a hub: %+v", noHub)
	}
}

func everySimID() []string {
	ids := slices.Clone(everySim)
	slices.Sort(ids)
	return ids
}

// TestCompletionScripts: each shell's script is one that the shell reads, where it
// is installed.
func TestCompletionScripts(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		script := tongcha(t, "completion", shell).must(t).stdout
		if !strings.Contains(script, "__complete") {
			t.Errorf("%s: %s", shell, script)
		}
		path, err := exec.LookPath(shell)
		if err != nil || shell == "powershell" {
			continue
		}
		if out, err := exec.Command(path, "-n", write(t, "script", script)).CombinedOutput(); err != nil {
			t.Errorf("%s can't read its script: %v %s", shell, err, out)
		}
	}
	help := tongcha(t, "completion", "--help").must(t).stdout
	for _, word := range []string{"source <(tongcha completion bash)", "zsh", "fish"} {
		if !strings.Contains(help, word) {
			t.Errorf("the help does not say %q", word)
		}
	}
	if r := tongcha(t, "completion", "csh"); r.code != exitUsage {
		t.Errorf("completion csh: %+v", r)
	}
}
