package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// step is a command of a transcript and what it has to print.
type step struct {
	line    int // of the document, from 1
	command string
	want    []string
}

// transcript reads the console blocks between the two marks of a Markdown
// document. Lines that begin with "$ " are commands, "> " goes on with the one
// before, and the lines after it are what it prints.
func transcript(document string) ([]step, error) {
	var steps []step
	var last *step
	inside, block, began := false, false, 0
	for i, line := range strings.Split(document, "\n") {
		line = strings.TrimSuffix(line, "\r")
		switch {
		case !block && line == "<!-- transcript -->":
			inside, began = true, i+1
		case !block && line == "<!-- /transcript -->":
			inside = false
		case !inside:
		case line == "```console" && !block:
			block, last = true, nil
		case line == "```" && block:
			block = false
		case !block:
		case strings.HasPrefix(line, "$ "):
			steps = append(steps, step{line: i + 1, command: line[2:]})
			last = &steps[len(steps)-1]
		case last == nil:
			return nil, fmt.Errorf("line %d: output before any command", i+1)
		case strings.HasPrefix(line, "> ") && len(last.want) == 0:
			last.command += "\n" + line[2:]
		default:
			last.want = append(last.want, line)
		}
	}
	if inside || block || began == 0 || len(steps) == 0 {
		return nil, errors.New("no commands between <!-- transcript --> and <!-- /transcript -->")
	}
	return steps, nil
}

// matches compares what was printed with what was expected, where … stands for
// any characters within a line, and a line … for any lines.
func matches(want []string, got string) bool {
	var pattern strings.Builder
	pattern.WriteString(`\A`)
	for _, line := range want {
		if strings.TrimSpace(line) == "…" {
			pattern.WriteString(`(?:[^\n]*\n)*`)
			continue
		}
		parts := strings.Split(line, "…")
		for i, p := range parts {
			parts[i] = regexp.QuoteMeta(p)
		}
		pattern.WriteString(strings.Join(parts, `[^\n]*`) + `\n`)
	}
	pattern.WriteString(`\z`)
	if got != "" && !strings.HasSuffix(got, "\n") {
		got += "\n"
	}
	return regexp.MustCompile(pattern.String()).MatchString(got)
}

// example is a document with a transcript.
const example = "```console\n$ not this\n```\n<!-- transcript -->\ntext\n```console\n$ one \\\n>   more\n> end\nout\n\n> quoted\n$ two\n```\n" +
	"```sh\n$ nor this\n```\n```console\n$ three\n…\n```\n<!-- /transcript -->\n```console\n$ nor that\n```\n"

func TestTranscriptParser(t *testing.T) {
	t.Parallel()
	steps, err := transcript(example)
	if err != nil {
		t.Fatal(err)
	}
	want := []step{
		{7, "one \\\n  more\nend", []string{"out", "", "> quoted"}},
		{13, "two", nil},
		{19, "three", []string{"…"}},
	}
	if !slices.EqualFunc(steps, want, func(a, b step) bool {
		return a.line == b.line && a.command == b.command && slices.Equal(a.want, b.want)
	}) {
		t.Errorf("got %+v, want %+v", steps, want)
	}
	for _, bad := range []string{
		"", "```console\n$ one\n```\n", "<!-- transcript -->\n```console\n$ one\n", "<!-- transcript -->\n<!-- /transcript -->\n",
		"<!-- transcript -->\n```console\n$ one\n```\n", "<!-- transcript -->\n```console\nout\n$ one\n```\n<!-- /transcript -->\n",
	} {
		if steps, err := transcript(bad); err == nil {
			t.Errorf("%q was read as %+v", bad, steps)
		}
	}
}

func TestTranscriptMatcher(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want, got string
		ok        bool
	}{
		{"", "", true},
		{"", "x\n", false},
		{"x", "", false},
		{"a\nb", "a\nb\n", true},
		{"a\nb", "a\nb", true},
		{"a\nb", "a\n\nb\n", false},
		{"a", "a\nb\n", false},
		{"a…c", "abbbc\n", true},
		{"a…c", "ac\n", true},
		{"a…c", "a\nc\n", false},
		{"a…", "abc\n", true},
		{"a…b…c", "a1b2c\n", true},
		{"a.c", "abc\n", false},
		{"…", "", true},
		{"…", "a\nb\n", true},
		{"a\n…\nz", "a\nz\n", true},
		{"a\n…\nz", "a\nb\nc\nz\n", true},
		{"a\n…\nz", "a\nb\nc\n", false},
		{"a\n …\nz\n…", "a\nz\nb\nz\nc\n", true},
	} {
		var want []string
		if c.want != "" {
			want = strings.Split(c.want, "\n")
		}
		if matches(want, c.got) != c.ok {
			t.Errorf("%q against %q: want %v", c.want, c.got, c.ok)
		}
	}
}
