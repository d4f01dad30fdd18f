package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/text/width"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tongcha/tongcha/server/platform"
)

func addOutput(cmd *cobra.Command) {
	cmd.Flags().StringP("output", "o", "table", "table or json")
}

// table is rows of cells; the first is the heading.
type table [][]string

// emit prints v as JSON or t as a table, as -o says.
func emit(cmd *cobra.Command, v any, t table) error { return emitAs(cmd, v, t, "table or json") }

// emitAs does so for a command that takes more forms.
func emitAs(cmd *cobra.Command, v any, t table, forms string) error {
	form, err := cmd.Flags().GetString("output")
	if err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	switch form {
	case "table":
		return t.write(w, "")
	case "json":
		return writeJSON(w, v)
	}
	return usageError("-o must be %s", forms)
}

func writeJSON(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if m, ok := v.(proto.Message); ok {
		body, err = protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	}
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	// protojson varies its spaces on purpose; a fixed form suits scripts.
	var tree any
	if err := json.Unmarshal(body, &tree); err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(tree)
}

// write prints the table with aligned columns; Chinese characters take two
// cells. What others wrote, such as the names in a file that is checked, gives the
// terminal no commands.
func (t table) write(w io.Writer, indent string) error {
	widths := make([]int, 0)
	for _, row := range t {
		for i, cell := range row {
			cell = platform.Harmless(cell)
			row[i] = cell
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], cells(cell))
		}
	}
	for _, row := range t {
		var b strings.Builder
		b.WriteString(indent)
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-cells(cell)+2))
			}
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(b.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

// cells is how many columns of a terminal a text takes.
func cells(s string) int {
	n := 0
	for _, r := range s {
		switch width.LookupRune(r).Kind() {
		case width.EastAsianWide, width.EastAsianFullwidth:
			n += 2
		default:
			n++
		}
	}
	return n
}

// dash stands for what is not there.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func when(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return t.AsTime().Local().Format("2006-01-02 15:04:05 MST")
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
