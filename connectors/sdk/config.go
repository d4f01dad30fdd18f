// Package sdk turns a few lines of Go into a platform that the hub can ask: it
// serves the connector contract over mutual TLS and keeps its promises.
package sdk

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc"

	connectorv1 "github.com/tongcha/tongcha/gen/go/tongcha/connector/v1"
)

// UnbindMode is how a platform usually ends an unbind order.
type UnbindMode = connectorv1.UnbindMode

// The modes.
const (
	ModeSync     = connectorv1.UnbindMode_UNBIND_MODE_SYNC
	ModeAsync    = connectorv1.UnbindMode_UNBIND_MODE_ASYNC
	ModeRedirect = connectorv1.UnbindMode_UNBIND_MODE_REDIRECT
)

// Config describes a platform and where it is served. PlatformID, an address or
// a listener, and credentials are required.
type Config struct {
	// PlatformID is the id the hub knows the platform by, 2 to 64 characters of
	// a-z 0-9 . _ -; the certificate must name the same one.
	PlatformID string

	// Address is where to listen, as "0.0.0.0:9443". Listener, when set, is
	// used instead and closed at the end.
	Address  string
	Listener net.Listener

	// CertFile, KeyFile and CAFile are PEM files, as `tongcha platform cert`
	// writes them. Credentials, when its CertPEM is set, is used instead.
	CertFile, KeyFile, CAFile string
	Credentials               Credentials

	DisplayName    string     // shown to people, at most 64 characters
	Products       []string   // at most 32 of at most 64 characters
	UnbindMode     UnbindMode // default: ASYNC for an UnbindStatuser, else SYNC
	MaxBatch       int        // subjects per call, 1 to 256; default 64
	SelfServiceURL string     // https, at most 512 bytes

	// Concurrency is how many lookups the handler runs at once over all calls and
	// streams; default 1024. A handler that takes 20 ms then answers at most
	// 1024/20ms = 51200 questions a second; each lookup that waits holds a
	// goroutine of a few kilobytes. Set it to what stands behind the handler, such
	// as a database, can bear. Handlers that ignore their context keep their place.
	Concurrency int
	// NoStream leaves StreamBindings out, so that the hub asks with LookupBindings
	// alone: for a platform behind a proxy that can't pass long streams on.
	NoStream bool
	// OrderJournal is a file in which orders survive a restart. Without it they
	// are kept in memory: a repeated order is then carried out again after a
	// restart, which the handler must bear. The file is append-only, about 400
	// bytes per order, and holds no number but a plain hash of order id and
	// number: who has the file can still try all numbers, so guard it.
	OrderJournal string
	// UnbindTimeout bounds one run of Unbind or UnbindStatus; default 30 s.
	UnbindTimeout time.Duration
	// DrainTimeout is how long open calls and streams may go on after the context
	// has ended; default 5 s. A stream takes no more questions then and ends with
	// those it has; what is not answered by then the hub asks again.
	DrainTimeout time.Duration

	// Logger hears of handler errors and panics; default slog.Default(). The
	// SDK never logs a number, but it does log the handler's own error texts.
	Logger *slog.Logger
	// Interceptors run around every unary call, inside the recovery of panics.
	Interceptors []grpc.UnaryServerInterceptor
	// StreamInterceptors do the same for StreamBindings, once for each stream. The
	// messages sent hold their answers encoded, as unknown fields.
	StreamInterceptors []grpc.StreamServerInterceptor
}

// withDefaults fills in and checks everything but the credentials.
func (c Config) withDefaults(h Handler) (Config, error) {
	if c.Concurrency == 0 {
		c.Concurrency = 1024
	}
	if c.MaxBatch == 0 {
		c.MaxBatch = 64
	}
	if c.UnbindTimeout == 0 {
		c.UnbindTimeout = 30 * time.Second
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = 5 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if _, ok := h.(Unbinder); !ok {
		c.UnbindMode = connectorv1.UnbindMode_UNBIND_MODE_UNSPECIFIED
	} else if c.UnbindMode == connectorv1.UnbindMode_UNBIND_MODE_UNSPECIFIED {
		c.UnbindMode = ModeSync
		if _, ok := h.(UnbindStatuser); ok {
			c.UnbindMode = ModeAsync
		}
	}
	return c, c.check()
}

func (c Config) check() error {
	switch {
	case !validID(c.PlatformID):
		return errors.New("PlatformID must be 2 to 64 characters of a-z 0-9 . _ -")
	case c.Listener == nil && c.Address == "":
		return errors.New("neither Address nor Listener is set")
	case c.MaxBatch < 1 || c.MaxBatch > 256:
		return errors.New("MaxBatch must be 1 to 256")
	case c.Concurrency < 1:
		return errors.New("the field Concurrency must be positive")
	case c.UnbindTimeout < 0 || c.DrainTimeout < 0:
		return errors.New("UnbindTimeout and DrainTimeout must be positive")
	case utf8.RuneCountInString(c.DisplayName) > 64:
		return errors.New("DisplayName must have at most 64 characters")
	case len(c.Products) > 32:
		return errors.New("the field Products takes at most 32")
	case c.SelfServiceURL != "" && !httpsURL(c.SelfServiceURL):
		return errors.New("SelfServiceURL must be an https URL of at most 512 bytes")
	}
	for i, p := range c.Products {
		if p == "" || utf8.RuneCountInString(p) > 64 {
			return fmt.Errorf("the field Products[%d] must have 1 to 64 characters", i)
		}
	}
	return nil
}

// credentials returns those in memory or reads the files.
func (c Config) credentials() (Credentials, error) {
	if len(c.Credentials.CertPEM) > 0 {
		return c.Credentials, nil
	}
	return ReadCredentials(c.CertFile, c.KeyFile, c.CAFile)
}

// describe is the answer to Describe; it never changes while the server runs.
func (c Config) describe(h Handler) *connectorv1.DescribeResponse {
	d := &connectorv1.DescribeResponse{
		PlatformId:      c.PlatformID,
		DisplayName:     c.DisplayName,
		Products:        c.Products,
		Functions:       []connectorv1.Function{connectorv1.Function_FUNCTION_LOOKUP},
		UnbindMode:      c.UnbindMode,
		MaxBatch:        int32(c.MaxBatch),
		ProtocolVersion: "1.0",
		SelfServiceUrl:  c.SelfServiceURL,
		StreamBindings:  !c.NoStream,
	}
	if _, ok := h.(Unbinder); ok {
		d.Functions = append(d.Functions, connectorv1.Function_FUNCTION_UNBIND)
	}
	if _, ok := h.(NumberEventHandler); ok {
		d.Functions = append(d.Functions, connectorv1.Function_FUNCTION_NUMBER_EVENTS)
	}
	return d
}

// validID reports whether s is an id of a platform, a carrier or a hub.
func validID(s string) bool {
	if len(s) < 2 || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}
