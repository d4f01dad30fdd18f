package coverage

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tongcha/tongcha/server/platform"
)

// The columns of a catalogue file, in the order it is written in.
const (
	columnID       = "platform_id"
	columnNameZH   = "name_zh"
	columnNameEN   = "name_en"
	columnCategory = "category"
	columnWeight   = "weight"
	columnObliged  = "obliged_since"
	columnSource   = "source"
)

func fileColumns() []string {
	return []string{columnID, columnNameZH, columnNameEN, columnCategory, columnWeight, columnObliged, columnSource}
}

// The limits of a catalogue file.
const (
	MaxFileBytes = 2 << 20
	MaxFileRows  = 10_000

	maxName      = 64        // characters
	maxSource    = 300       // characters
	maxWeight    = 1_000_000 // units
	mostProblems = 50
)

const byteOrderMark = "\ufeff"

// Problem is one fault of a catalogue file. It repeats nothing of the file, which
// may be another one than was meant.
type Problem struct {
	Line   int    // from 1; 0 for the whole file
	Column string // "" for the whole line
	Text   string
}

func (p Problem) String() string {
	switch {
	case p.Line == 0:
		return p.Text
	case p.Column == "":
		return fmt.Sprintf("line %d: %s", p.Line, p.Text)
	}
	return fmt.Sprintf("line %d, %s: %s", p.Line, p.Column, p.Text)
}

// FileError is everything that is wrong with a catalogue file, at most 50
// problems.
type FileError struct {
	Problems []Problem
	More     bool // there are more
}

// Error is one line for each problem.
func (e *FileError) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.String())
	}
	if e.More {
		b.WriteString("\nand more")
	}
	return b.String()
}

// ParseFile reads a catalogue file: CSV in UTF-8, with or without a byte order
// mark, with a heading that names each column once, in any order. Of the entries
// only what the file says is set; they are ordered by id.
//
// Errors: *FileError.
func ParseFile(file []byte) ([]platform.Entry, error) {
	p := &fileParser{lines: make(map[platform.ID]int)}
	p.parse(file)
	if len(p.err.Problems) > 0 {
		return nil, &p.err
	}
	slices.SortFunc(p.rows, func(a, b platform.Entry) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return p.rows, nil
}

type fileParser struct {
	at    map[string]int // column → index
	width int
	lines map[platform.ID]int
	rows  []platform.Entry
	line  int
	err   FileError
}

func (p *fileParser) problem(column, text string) {
	if len(p.err.Problems) == mostProblems {
		p.err.More = true
		return
	}
	p.err.Problems = append(p.err.Problems, Problem{Line: p.line, Column: column, Text: text})
}

func (p *fileParser) parse(file []byte) {
	switch {
	case len(file) > MaxFileBytes:
		p.problem("", "the file is larger than 2 MiB")
		return
	case !utf8.Valid(file):
		p.problem("", "the file is not UTF-8; in Excel, save it as “CSV UTF-8”")
		return
	}
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(file, []byte(byteOrderMark))))
	r.FieldsPerRecord = -1
	r.ReuseRecord = true
	for !p.err.More {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if p.broken(err) {
			return // nobody knows where the next line begins
		}
		p.line, _ = r.FieldPos(0)
		if p.at == nil {
			if !p.heading(record) {
				return
			}
			continue
		}
		p.record(record)
		if len(p.rows) > MaxFileRows {
			p.problem("", "the file has more than 10,000 rows")
			return
		}
	}
	switch {
	case p.at == nil:
		p.problem("", "the file is empty; its first line must be "+strings.Join(fileColumns(), ","))
	case len(p.rows) == 0 && len(p.err.Problems) == 0: // cut short, most likely
		p.problem("", "the file has a heading and no platform")
	}
}

func (p *fileParser) broken(err error) bool {
	var bad *csv.ParseError
	switch {
	case err == nil:
		return false
	case errors.As(err, &bad):
		p.line = bad.Line
	}
	p.problem("", "the quotation marks are not those of CSV")
	return true
}

func (p *fileParser) heading(record []string) bool {
	p.at, p.width = make(map[string]int), len(record)
	for i, name := range record {
		_, twice := p.at[name]
		switch {
		case !slices.Contains(fileColumns(), name):
			p.problem("", fmt.Sprintf("column %d is none of %s", i+1, strings.Join(fileColumns(), ",")))
		case twice:
			p.problem(name, "the column is there twice")
		}
		p.at[name] = i
	}
	for _, name := range fileColumns() {
		if _, ok := p.at[name]; !ok {
			p.problem(name, "the column is missing")
		}
	}
	return len(p.err.Problems) == 0
}

// record reads one row. A row of empty cells, as spreadsheets leave them, says
// nothing.
func (p *fileParser) record(record []string) {
	if !slices.ContainsFunc(record, func(s string) bool { return s != "" }) {
		return
	}
	if len(record) != p.width {
		p.problem("", fmt.Sprintf("the line has %d cells, the heading %d", len(record), p.width))
		return
	}
	cell := func(column string) string { return record[p.at[column]] }
	e := platform.Entry{
		ID:          p.id(cell(columnID)),
		DisplayName: p.text(columnNameZH, cell(columnNameZH), maxName),
		Category:    cell(columnCategory),
		Listing: platform.Listing{
			NameEN: p.text(columnNameEN, cell(columnNameEN), maxName),
			Source: p.text(columnSource, cell(columnSource), maxSource),
		},
	}
	if cell(columnNameZH) == "" {
		p.problem(columnNameZH, "every platform needs a name")
	}
	if !platform.IsCategory(e.Category) {
		p.problem(columnCategory, "not one of the 39 app types, such as 网上购物")
	}
	e.WeightMilli = p.weight(cell(columnWeight))
	p.obliged(&e, cell(columnObliged), cell(columnWeight))
	p.rows = append(p.rows, e)
}

func (p *fileParser) id(s string) platform.ID {
	id, err := platform.ParseID(s)
	if err != nil {
		p.problem(columnID, "an id is 2 to 64 characters of a-z 0-9 . _ -, beginning with a letter or digit")
		return ""
	}
	if first, twice := p.lines[id]; twice {
		p.problem(columnID, fmt.Sprintf("the id of line %d again", first))
	}
	p.lines[id] = p.line
	return id
}

// text refuses what misleads a reader, also one who opens the file in a
// spreadsheet, where = + - and @ begin a formula.
func (p *fileParser) text(column, s string, limit int) string {
	switch {
	case !platform.IsPlainText(s, limit):
		p.problem(column, fmt.Sprintf("at most %d characters, without line breaks, control and invisible characters", limit))
	case strings.TrimSpace(s) != s:
		p.problem(column, "a space at the beginning or the end")
	case platform.IsFormula(s):
		p.problem(column, "begins like a formula of a spreadsheet")
	}
	return s
}

// weight reads a positive decimal number of at most three decimals into
// thousandths; 0 for "".
func (p *fileParser) weight(s string) int64 {
	if s == "" {
		return 0
	}
	w, ok := parseWeight(s)
	if !ok {
		p.problem(columnWeight, "not a number above 0 and up to 1000000 with at most three decimals, such as 12.5")
	}
	return w
}

func parseWeight(s string) (int64, bool) {
	whole, part, dotted := strings.Cut(s, ".")
	if !isDigits(whole, 7) || dotted && !isDigits(part, 3) {
		return 0, false
	}
	w, err := strconv.ParseInt(whole+(part + "000")[:3], 10, 64)
	return w, err == nil && w > 0 && w <= maxWeight*1000
}

func isDigits(s string, most int) bool {
	return s != "" && len(s) <= most && !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

func formatWeight(milli int64) string {
	if milli == 0 {
		return ""
	}
	s := fmt.Sprintf("%d.%03d", milli/1000, milli%1000)
	return strings.TrimRight(strings.TrimRight(s, "0"), ".")
}

func (p *fileParser) obliged(e *platform.Entry, date, weight string) {
	if date == "" {
		return
	}
	d, err := parseFileDate(date)
	if err != nil {
		p.problem(columnObliged, "not a day as 2026-10-01 or 2026/10/1")
	}
	if weight == "" {
		p.problem(columnWeight, "a platform that is obliged to join needs a weight")
	}
	e.ObligedSince = d.Start().UTC()
}

// parseFileDate reads 2026-10-01, and 2026/10/1 as Excel rewrites it in China.
func parseFileDate(s string) (Day, error) {
	if d, err := ParseDay(s); err == nil {
		return d, nil
	}
	parts := strings.Split(s, "/")
	if len(parts) != 3 || len(parts[0]) != 4 || !isDigits(parts[0], 4) || !isDigits(parts[1], 2) || !isDigits(parts[2], 2) {
		return 0, errors.New("not a day")
	}
	twoDigits := func(s string) string { return ("0" + s)[len(s)-1:] }
	return ParseDay(parts[0] + "-" + twoDigits(parts[1]) + "-" + twoDigits(parts[2]))
}

func formatFileDate(e platform.Entry) string {
	if e.ObligedSince.IsZero() {
		return ""
	}
	return DayOf(e.ObligedSince).String()
}

// fileCells are an entry's cells, in the order of fileColumns.
func fileCells(e platform.Entry) []string {
	return []string{string(e.ID), e.DisplayName, e.NameEN, e.Category, formatWeight(e.WeightMilli), formatFileDate(e), e.Source}
}

// FormatFile writes entries as a catalogue file, in their order: the one form of
// the same content, so that versions of the file compare line by line.
func FormatFile(entries []platform.Entry) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	rows := [][]string{fileColumns()}
	for _, e := range entries {
		rows = append(rows, fileCells(e))
	}
	if err := w.WriteAll(rows); err != nil {
		return nil, fmt.Errorf("write catalogue: %w", err)
	}
	return b.Bytes(), nil
}
