package simulator

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Checks are the hub's rules for numbers and suffixes, given by the caller: the
// simulator has none of its own.
type Checks struct {
	Phone  func(string) (e164 string, err error)
	Suffix func(string) (normal string, err error)
}

// RowError says where a file is wrong and how. It never holds a value of the
// file; nor does it hold the text of a Checks error, which might.
type RowError struct {
	Line    int    // from 1, as an editor counts
	Column  string // empty where the whole line is wrong
	Problem string
}

// Error implements error.
func (e *RowError) Error() string {
	if e.Column == "" {
		return fmt.Sprintf("line %d: %s", e.Line, e.Problem)
	}
	return fmt.Sprintf("line %d: %s: %s", e.Line, e.Column, e.Problem)
}

// table reads rows of named columns.
type table struct {
	csv     *csv.Reader
	columns []string
	at      []int // where each column stands in the file
	line    int
	fields  []string
}

// openTable reads the header, in which exactly these columns must stand, in any
// order. A UTF-8 byte order mark before it is skipped.
func openTable(r io.Reader, columns ...string) (*table, error) {
	br := bufio.NewReaderSize(r, 1<<16)
	if mark, _ := br.Peek(3); bytes.Equal(mark, []byte("\ufeff")) {
		if _, err := br.Discard(3); err != nil {
			return nil, err
		}
	}
	t := &table{csv: csv.NewReader(br), columns: columns}
	t.csv.FieldsPerRecord = -1
	t.csv.ReuseRecord = true
	header, err := t.csv.Read()
	want := &RowError{Line: 1, Problem: "want a header with the columns " + strings.Join(columns, ",")}
	if errors.Is(err, io.EOF) {
		return nil, want
	}
	if err != nil {
		return nil, csvError(err)
	}
	for i := range header {
		header[i] = strings.TrimSpace(header[i])
	}
	for _, c := range columns {
		t.at = append(t.at, slices.Index(header, c))
	}
	if len(header) != len(columns) || slices.Contains(t.at, -1) {
		return nil, want
	}
	return t, nil
}

// next moves to the next row; io.EOF ends the file.
func (t *table) next() error {
	fields, err := t.csv.Read()
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	if err != nil {
		return csvError(err)
	}
	t.fields = fields
	t.line, _ = t.csv.FieldPos(0)
	if len(fields) != len(t.columns) {
		return &RowError{Line: t.line, Problem: fmt.Sprintf("has %d fields, want %d", len(fields), len(t.columns))}
	}
	return nil
}

// get returns the i-th of the columns given to openTable.
func (t *table) get(i int) string { return strings.TrimSpace(t.fields[t.at[i]]) }

func (t *table) wrong(i int, problem string) error {
	return &RowError{Line: t.line, Column: t.columns[i], Problem: problem}
}

// csvError keeps the line and what is wrong with the quoting.
func csvError(err error) error {
	var p *csv.ParseError
	if errors.As(err, &p) {
		return &RowError{Line: p.Line, Problem: "not CSV: " + p.Err.Error()}
	}
	return err
}

func (t *table) platformID(i int) (string, error) {
	s := t.get(i)
	ok := len(s) >= 2 && len(s) <= 64 && !strings.ContainsRune("._-", rune(s[0]))
	for _, c := range []byte(s) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-')
	}
	if !ok {
		return "", t.wrong(i, "want 2 to 64 characters of a-z 0-9 . _ -, beginning with a letter or digit")
	}
	return strings.Clone(s), nil
}

func (t *table) phone(i int, c Checks) (string, error) {
	s, err := c.Phone(t.get(i))
	if err != nil {
		return "", t.wrong(i, "not a mainland mobile number")
	}
	return strings.Clone(s), nil
}

func (t *table) suffix(i int, c Checks) (string, error) {
	s, err := c.Suffix(t.get(i))
	if err != nil {
		return "", t.wrong(i, "not the last 6 characters of an ID: day of birth 01-31, three digits, a digit or X")
	}
	return strings.Clone(s), nil
}

func (t *table) product(i int) (string, error) {
	s := t.get(i)
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return "", t.wrong(i, "not plain UTF-8 text")
	}
	if utf8.RuneCountInString(s) > 64 {
		return "", t.wrong(i, "over 64 characters")
	}
	return strings.Clone(s), nil
}

// time reads RFC 3339, or a plain date, which means its beginning in China.
func (t *table) time(i int) (time.Time, error) {
	s := t.get(i)
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		at, err = time.ParseInLocation(time.DateOnly, s, time.FixedZone("CST", 8*60*60))
	}
	if err != nil {
		return time.Time{}, t.wrong(i, "want a time as 2026-03-01T08:00:00+08:00 or a date as 2026-03-01")
	}
	at = at.UTC()
	if at.Year() < 1970 || at.Year() > 9999 {
		return time.Time{}, t.wrong(i, "want a time from 1970 on")
	}
	return at, nil
}
