// Package lines keeps append-only files of whole lines that survive a crash.
package lines

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// File is an append-only file of lines, safe for concurrent use by one process;
// two processes must not write the same file.
//
// A crash leaves whole lines and at most one torn line at the end, which the
// next Open cuts off. After the first failed write or sync the file takes no
// more lines until it is opened again: what is on disk then is unknown, and the
// only honest way to learn it is to read it back.
type File struct {
	f *os.File

	writeMu sync.Mutex
	written int64 // bytes written, acknowledged or not
	failed  error

	syncMu sync.Mutex // never taken before writeMu is released
	synced int64      // bytes known to be on disk
}

// Mark is a place in the file, just behind what an Append wrote.
type Mark int64

// Open opens or creates the file with mode 0600 and hands every whole line,
// without its newline, to each, in order. A torn last line is cut off first.
// The slice given to each may be kept. An error of each ends Open, with the
// number of the line.
func Open(path string, each func(line []byte) error) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	size, err := replay(f, each)
	if err == nil {
		err = cut(f, size)
	}
	if err == nil {
		err = SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", filepath.Base(path), err), f.Close())
	}
	return &File{f: f, written: size, synced: size}, nil
}

// replay reads whole lines and returns how many bytes they take.
func replay(f *os.File, each func([]byte) error) (int64, error) {
	r := bufio.NewReaderSize(f, 1<<16)
	var size int64
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return size, nil
		}
		if err != nil {
			return 0, err
		}
		if err := each(line[:len(line)-1]); err != nil {
			return 0, fmt.Errorf("line %d: %w", n, err)
		}
		size += int64(len(line))
	}
}

// cut drops everything behind size and makes sure that what stays is on disk:
// lines that were read back are about to be acted on.
func cut(f *os.File, size int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() > size {
		if err := f.Truncate(size); err != nil {
			return err
		}
	}
	return f.Sync()
}

// Append writes whole lines, each ended by a newline, in one write. They are on
// disk only after Sync of the mark returned.
func (l *File) Append(block []byte) (Mark, error) {
	if len(block) == 0 || block[len(block)-1] != '\n' {
		return 0, errors.New("lines: a block must end with a newline")
	}
	l.writeMu.Lock()
	defer l.writeMu.Unlock()
	if l.failed != nil {
		return 0, fmt.Errorf("closed to writes after an earlier error: %w", l.failed)
	}
	n, err := l.f.Write(block)
	l.written += int64(n)
	if err != nil {
		l.failed = err
		return 0, err
	}
	return Mark(l.written), nil
}

// Sync returns once everything up to the mark is on disk. Callers that come
// together share one fsync.
func (l *File) Sync(m Mark) error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	if l.synced >= int64(m) {
		return nil
	}
	l.writeMu.Lock()
	upTo, failed := l.written, l.failed
	l.writeMu.Unlock()
	if failed != nil {
		return fmt.Errorf("closed to writes after an earlier error: %w", failed)
	}
	if err := l.f.Sync(); err != nil {
		l.writeMu.Lock()
		l.failed = err
		l.writeMu.Unlock()
		return err
	}
	l.synced = upTo
	return nil
}

// Write appends whole lines and waits until they are on disk.
func (l *File) Write(block []byte) error {
	m, err := l.Append(block)
	if err != nil {
		return err
	}
	return l.Sync(m)
}

// Close closes the file. Lines that were not synced may or may not survive.
func (l *File) Close() error { return l.f.Close() }

// SyncDir makes the names in a folder durable, which a file's own fsync does
// not do.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
