package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
)

// marshal prints zero counts but leaves absent ones absent.
var marshal = protojson.MarshalOptions{EmitDefaultValues: true}

var errBody = errors.New("body is not the message")

// codec replaces grpc-gateway's decoder, which reads one JSON value and drops
// what follows it. Here the whole body has to be the message.
type codec struct{ runtime.JSONPb }

func newCodec() *codec { return &codec{runtime.JSONPb{MarshalOptions: marshal}} }

// Marshal prints without spaces: protojson's vary from build to build, and an
// answer should not.
func (c *codec) Marshal(v any) ([]byte, error) {
	if text, ok := fast(v); ok {
		return text, nil
	}
	return c.reflect(v)
}

// fast prints what has a printer of its own; false leaves it to reflect.
func fast(v any) ([]byte, bool) {
	switch v := v.(type) {
	case *hubv1.Lookup:
		return printLookup(v, false)
	case map[string]any: // a frame of the watch
		if m, ok := v["result"].(*hubv1.Lookup); ok && len(v) == 1 {
			return printLookup(m, true)
		}
	}
	return nil, false
}

func (c *codec) reflect(v any) ([]byte, error) {
	text, err := c.JSONPb.Marshal(v)
	if err != nil {
		return nil, err
	}
	return compact(text)
}

func compact(text []byte) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(len(text))
	if err := json.Compact(&b, text); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// StreamContentType is the media type of the watch: one JSON value per line.
func (*codec) StreamContentType(any) string { return "application/x-ndjson" }

// NewDecoder decodes a *body, and nothing else. The errors it returns are
// without text, since protojson's quote the input.
func (*codec) NewDecoder(r io.Reader) runtime.Decoder {
	return runtime.DecoderFunc(func(v any) error {
		b, ok := r.(*body)
		m, isProto := v.(proto.Message)
		if !ok || !isProto {
			return errBody
		}
		if len(b.data) == 0 {
			return io.EOF // the generated code takes this for an empty message
		}
		if protojson.Unmarshal(b.data, m) != nil {
			return errBody
		}
		for _, fd := range b.bound {
			if m.ProtoReflect().Has(fd) {
				return errBody // the path would overwrite it unseen
			}
		}
		return nil
	})
}
