package gateway

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tongcha/tongcha/server/fault"
)

// body is a request body that was read whole and within bounds. It reads as
// empty: only the codec may take its bytes.
type body struct {
	data  []byte
	bound []protoreflect.FieldDescriptor // may not appear in it: the path has them
}

func (*body) Read([]byte) (int, error) { return 0, io.EOF }

func (*body) Close() error { return nil }

// readBody reads the body before anything acts on it. The deadline was set when
// the request came; it is lifted once all is here, since it would otherwise end
// a long poll.
func readBody(w *writer, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength == 0 {
		return nil, nil
	}
	plain := plainJSON(r.Header)
	if r.ContentLength > 0 && !plain {
		return nil, fault.ContentTypeInvalid.New()
	}
	if r.ContentLength > limit {
		return nil, fault.BodyTooLarge.New()
	}
	// The inner writer lets MaxBytesReader close the connection in order.
	data, err := io.ReadAll(http.MaxBytesReader(w.ResponseWriter, r.Body, limit))
	if err != nil {
		return nil, readFault(err)
	}
	w.unread = false
	_ = w.rc.SetReadDeadline(time.Time{})
	if len(data) > 0 && !plain {
		return nil, fault.ContentTypeInvalid.New()
	}
	return data, nil
}

// readFault drops the error's text, which may quote the body.
func readFault(err error) error {
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return fault.BodyTooLarge.New()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fault.BodyTimeout.New()
	default:
		return fault.BodyInvalid.New()
	}
}

// plainJSON is whether the headers announce uncompressed JSON in UTF-8. Nothing
// is ever decompressed here, so a small body can't become a large one.
func plainJSON(h http.Header) bool {
	for _, v := range h.Values("Content-Encoding") {
		if v != "" && !strings.EqualFold(v, "identity") {
			return false
		}
	}
	types := h.Values("Content-Type")
	if len(types) != 1 {
		return false
	}
	media, params, err := mime.ParseMediaType(types[0])
	if err != nil || media != "application/json" {
		return false
	}
	for key, v := range params {
		if key != "charset" || !strings.EqualFold(v, "utf-8") {
			return false
		}
	}
	return true
}
