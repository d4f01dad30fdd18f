package gateway

import (
	"context"
	"io"
	"net/http"
	"time"
)

// writer remembers the answer's code and keeps slow or departed clients from
// costing anything: every piece of an answer has a deadline, and a failed write
// ends the call instead of being reported, for the report would hold the
// client's address.
type writer struct {
	http.ResponseWriter
	rc     *http.ResponseController
	write  time.Duration // how long the client may take for a piece
	h1     bool
	cancel context.CancelFunc
	code   int
	unread bool // the request's body is not read yet
	gone   bool // the client left
}

// A refusal that leaves a body unread lingers: closing at once would reset the
// connection, and a client that still sends would never read why.
const (
	lingerBytes = 4 << 20
	lingerLate  = 500 * time.Millisecond // after the body's own time is over
)

// newWriter also sets the time in which the request's body has to be here,
// whether or not anybody wants it.
func newWriter(rw http.ResponseWriter, r *http.Request, p patience, cancel context.CancelFunc) *writer {
	w := &writer{
		ResponseWriter: rw, rc: http.NewResponseController(rw), cancel: cancel,
		write: p.write, h1: r.ProtoMajor == 1,
	}
	w.unread = r.ContentLength != 0
	if w.unread {
		_ = w.rc.SetReadDeadline(time.Now().Add(p.read))
	}
	if !w.h1 {
		return w
	}
	_ = w.rc.SetWriteDeadline(time.Time{}) // the one of the request before
	if len(r.TransferEncoding) > 0 {
		// A Content-Length beside Transfer-Encoding is dropped by net/http before
		// we can see it. Two readings of one request are how requests are
		// smuggled, so nothing that follows on this connection is read
		// (RFC 9112, 6.1).
		rw.Header().Set("Connection", "close")
	}
	return w
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *writer) WriteHeader(code int) {
	if w.code != 0 {
		return
	}
	if code >= 200 {
		w.code = code
	}
	if w.unread && w.h1 {
		w.Header().Set("Connection", "close") // and so answer before the rest arrives
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *writer) Write(p []byte) (int, error) {
	if w.code == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.gone {
		return len(p), nil
	}
	w.extend()
	if _, err := w.ResponseWriter.Write(p); err != nil {
		w.left()
	}
	return len(p), nil
}

// FlushError sends what was written; http.ResponseController finds it.
func (w *writer) FlushError() error {
	if w.gone {
		return nil
	}
	w.extend()
	if w.rc.Flush() != nil {
		w.left()
	} else if !w.h1 {
		// HTTP/2 resets a stream whose deadline passes, written to or not.
		_ = w.rc.SetWriteDeadline(time.Time{})
	}
	return nil
}

func (w *writer) extend() { _ = w.rc.SetWriteDeadline(time.Now().Add(w.write)) }

func (w *writer) left() {
	w.gone = true
	w.cancel()
}

// linger sends the answer and then drops what is still coming, within the time
// that the body has anyway. A client that asked before it sends is told, sends
// nothing, and is not waited for, neither here nor by net/http.
func (w *writer) linger(r *http.Request) {
	if !w.unread || !w.h1 || w.gone {
		return
	}
	_ = w.FlushError()
	switch {
	case r.Header.Get("Expect") != "":
		_ = w.rc.SetReadDeadline(time.Now())
		return
	case w.code == http.StatusRequestTimeout:
		_ = w.rc.SetReadDeadline(time.Now().Add(lingerLate))
	}
	_, _ = io.CopyN(io.Discard, r.Body, lingerBytes)
}

// status is the code that was sent; 200 where a handler wrote nothing at all.
func (w *writer) status() int {
	if w.code == 0 {
		return http.StatusOK
	}
	return w.code
}
