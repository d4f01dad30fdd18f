// Package logtest is a log in memory that a test reads while others write it.
package logtest

import (
	"bytes"
	"sync"
)

// Log is an io.Writer that keeps what it is given. The zero Log is empty and
// ready; it is safe for concurrent use.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write keeps p. It never fails.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String is all that was written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
