// Package report prints what was measured beside what was aimed at.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/tongcha/tongcha/bench/internal/noise"
)

// Row is one figure of two arms, and the aim for it.
type Row struct {
	Scenario string    `json:"scenario"`
	Figure   string    `json:"figure"`
	Base     float64   `json:"base"`
	Ours     float64   `json:"ours"`
	Value    float64   `json:"value"` // what the aim is about: a ratio, a difference or ours
	Unit     string    `json:"unit"`  // of Value: "x" for a ratio
	Aim      float64   `json:"aim"`
	AtLeast  bool      `json:"atLeast"`           // the aim is a lower bound
	Invalid  string    `json:"invalid,omitempty"` // why the aim can't be met by it
	Note     string    `json:"note,omitempty"`
	Answered []float64 `json:"answered,omitempty"` // shares of the questions, of base and ours
	Others   float64   `json:"others"`             // the most that other programs took of the machine in a round, 0 to 1
	Bases    []float64 `json:"baseRounds,omitempty"`
	Ourses   []float64 `json:"oursRounds,omitempty"`
}

// Met reports whether the aim was met by a sound measurement.
func (r Row) Met() bool {
	if r.Invalid != "" {
		return false
	}
	if r.AtLeast {
		return r.Value >= r.Aim
	}
	return r.Value <= r.Aim
}

func (r Row) verdict() string {
	switch {
	case r.Invalid != "":
		return "no: " + r.Invalid
	case r.Met():
		return strings.TrimSuffix("yes, "+r.Note, ", ")
	}
	return strings.TrimSuffix("no, "+r.Note, ", ")
}

// Print writes the rows as a table whose arms have these names.
func Print(w io.Writer, base, ours string, rows []Row) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(t, "scenario\tfigure\t%s\t%s\tvalue\taim\tmet\n", base, ours)
	for _, r := range rows {
		bound := "≤"
		if r.AtLeast {
			bound = "≥"
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s %s\t%s\n",
			r.Scenario, r.Figure, plain(r.Base), plain(r.Ours), r.with(r.Value), bound, r.with(r.Aim), r.verdict())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	var others float64
	for _, r := range rows {
		others = max(others, r.Others)
	}
	if others > noise.TooMuch {
		_, err := fmt.Fprintf(w, "\nOther programs took up to %.0f %% of the machine. Measure again when it is quiet.\n", 100*others)
		return err
	}
	return nil
}

func (r Row) with(v float64) string {
	if r.Unit == "x" {
		return plain(v) + "×"
	}
	return plain(v) + " " + r.Unit
}

// plain shows three digits, more before the point.
func plain(v float64) string {
	switch {
	case v >= 100 || v <= -100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10 || v <= -10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// Write stores the rows, and where they were measured, as JSON.
func Write(path string, settings any, rows []Row) error {
	b, err := json.MarshalIndent(map[string]any{
		"go": runtime.Version(), "cores": runtime.NumCPU(), "settings": settings, "rows": rows,
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}
