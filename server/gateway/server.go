package gateway

import (
	"bytes"
	"io"
	"log"
	"log/slog"
	"net/http"
	"time"

	"github.com/tongcha/tongcha/server/fault"
)

// fixedPaths are the paths beside /v1.
func (h *handler) fixedPaths() map[string]http.Handler {
	m := map[string]http.Handler{
		"/livez":  probe(h.Livez),
		"/readyz": probe(h.Readyz),
	}
	if h.OpenAPI != nil {
		m["/openapi.json"] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(h.OpenAPI)
		})
	}
	if h.ReceiptKeys != nil {
		m[ReceiptKeysPath] = receiptKeys(h.ReceiptKeys)
	}
	if h.Metrics != nil {
		m["/metrics"] = h.Metrics
	}
	return m
}

// ReceiptKeysPath is where the public keys of receipts are, as a JWK Set.
const ReceiptKeysPath = "/.well-known/tongcha-receipt-keys.json"

// receiptKeys may be kept for an hour by whoever reads them: a key that is replaced
// stays in the set, and who meets a new one's name reads the set again.
func receiptKeys(set []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/jwk-set+json")
		w.Header().Set("Cache-Control", "public, max-age=3600")
		_, _ = w.Write(set)
	})
}

// probe answers "ok", or 503 with the reason alone: an error's text may say
// more than a stranger should read.
func probe(check func() error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if check != nil {
			if err := check(); err != nil {
				w.WriteHeader(http.StatusServiceUnavailable)
				_, _ = io.WriteString(w, string(fault.Of(err).Reason)+"\n")
				return
			}
		}
		_, _ = io.WriteString(w, "ok\n")
	})
}

// Server returns an HTTP server with the limits that the handler relies on:
// headers of 8 KiB (net/http adds 4 KiB of grace) within 5 s, 100 streams per
// HTTP/2 connection. It has no WriteTimeout, as that would end long polls and
// watches; the handler puts a deadline on every write instead.
func Server(addr string, h http.Handler, logger *slog.Logger) *http.Server {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &http.Server{
		Addr:                         addr,
		Handler:                      h,
		ReadHeaderTimeout:            5 * time.Second,
		IdleTimeout:                  75 * time.Second,
		MaxHeaderBytes:               8 << 10,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     log.New(errorLog{logger}, "", 0),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 100,
			SendPingTimeout:      30 * time.Second,
			WriteByteTimeout:     defaultPatience.write,
		},
	}
}

// errorLog takes net/http's own lines. Those about one connection hold an
// address, or a panic's value, and are reduced to what happened.
type errorLog struct{ logger *slog.Logger }

func (e errorLog) Write(line []byte) (int, error) {
	switch {
	case bytes.HasPrefix(line, []byte("http: TLS handshake error")):
		e.logger.Debug("TLS handshake failed")
	case bytes.HasPrefix(line, []byte("http: panic serving")), bytes.HasPrefix(line, []byte("http2: panic serving")):
		e.logger.Error("handler panicked")
	case bytes.HasPrefix(line, []byte("http: Accept error")):
		e.logger.Warn(string(bytes.TrimSpace(line)))
	default:
		e.logger.Debug("HTTP connection failed")
	}
	return len(line), nil
}
