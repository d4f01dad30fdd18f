package gateway

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	oversightv1 "github.com/tongcha/tongcha/gen/go/tongcha/oversight/v1"
	"github.com/tongcha/tongcha/server/fault"
)

// entry is one line of the REST table.
type entry struct {
	method, path string
	request      proto.Message
}

// table repeats proto/http.yaml, since grpc-gateway keeps its patterns to
// itself; a test compares it with the generated OpenAPI description.
var table = []entry{
	{"GET", "/v1/consent", &hubv1.GetConsentRequest{}},
	{"GET", "/v1/platforms", &hubv1.ListPlatformsRequest{}},
	{"POST", "/v1/verifications", &hubv1.CreateVerificationRequest{}},
	{"POST", "/v1/verifications/{verificationId}:confirm", &hubv1.ConfirmVerificationRequest{}},
	{"POST", "/v1/lookups", &hubv1.CreateLookupRequest{}},
	{"GET", "/v1/lookups/{lookupId}", &hubv1.GetLookupRequest{}},
	{"GET", "/v1/lookups/{lookupId}:watch", &hubv1.WatchLookupRequest{}},
	{"POST", "/v1/unbinds", &hubv1.CreateUnbindsRequest{}},
	{"GET", "/v1/unbinds", &hubv1.ListUnbindsRequest{}},
	{"GET", "/v1/unbinds/{unbindId}", &hubv1.GetUnbindRequest{}},
	{"POST", "/v1/unbinds/{unbindId}:cancel", &hubv1.CancelUnbindRequest{}},
	{"POST", "/v1/unbinds/{unbindId}:appeal", &hubv1.AppealUnbindRequest{}},
	{"GET", "/v1/coverage", &oversightv1.GetCoverageRequest{}},
	{"GET", "/v1/coverage/platforms", &oversightv1.ListPlatformCoverageRequest{}},
	{"GET", "/v1/coverage/unbinds", &oversightv1.GetUnbindCoverageRequest{}},
	{"GET", "/v1/coverage/refusals", &oversightv1.GetRefusalsRequest{}},
}

// Body limits. A carrier's batch of 1000 events does not fit the usual one.
const (
	bodyLimit  = 16 << 10
	batchPath  = "/v1/numberEvents:batchCreate"
	batchLimit = 256 << 10
)

// maxID is the longest value of a path variable; ids have 26 characters.
const maxID = 128

// route is an entry made ready for matching.
type route struct {
	method, path string
	segments     []string
	message      protoreflect.MessageType
	bound        []protoreflect.FieldDescriptor          // set by the path
	query        map[string]protoreflect.FieldDescriptor // by JSON name; none for POST
	limit        int64
}

func compile(entries []entry) ([]*route, error) {
	var out []*route
	for _, e := range entries {
		rt := &route{
			method: e.method, path: e.path, limit: limitFor(e.path),
			segments: strings.Split(e.path, "/"),
			message:  e.request.ProtoReflect().Type(),
			query:    map[string]protoreflect.FieldDescriptor{},
		}
		fields := rt.message.Descriptor().Fields()
		for _, s := range rt.segments {
			name, _, ok := variable(s)
			if !ok {
				continue
			}
			fd := fields.ByJSONName(name)
			if fd == nil {
				return nil, fmt.Errorf("gateway: %s has no field %s", rt.message.Descriptor().FullName(), name)
			}
			rt.bound = append(rt.bound, fd)
		}
		for i := range fields.Len() {
			if fd := fields.Get(i); e.method == http.MethodGet && !slices.Contains(rt.bound, fd) {
				rt.query[fd.JSONName()] = fd
			}
		}
		out = append(out, rt)
	}
	return out, nil
}

func limitFor(path string) int64 {
	if path == batchPath {
		return batchLimit
	}
	return bodyLimit
}

// variable takes "{name}:verb" apart; verb is "" or begins with ':'.
func variable(segment string) (name, verb string, ok bool) {
	rest, ok := strings.CutPrefix(segment, "{")
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, "}")
}

// find returns the route, and which methods the path takes. allow is "" where
// there is nothing at the path, and route nil where the method is another.
func find(routes []*route, method, path string) (found *route, allow string) {
	segments := strings.Split(path, "/")
	var methods []string
	for _, rt := range routes {
		if !rt.match(segments) {
			continue
		}
		if rt.method == method {
			found = rt
		}
		methods = append(methods, rt.method)
	}
	slices.Sort(methods)
	return found, strings.Join(methods, ", ")
}

func (rt *route) match(segments []string) bool {
	if len(segments) != len(rt.segments) {
		return false
	}
	for i, want := range rt.segments {
		_, verb, ok := variable(want)
		if !ok {
			if segments[i] != want {
				return false
			}
			continue
		}
		id, cut := strings.CutSuffix(segments[i], verb)
		if !cut || !validID(id) {
			return false
		}
	}
	return true
}

// validID keeps a variable to the unreserved characters. Without ':' an unknown
// verb is an unknown path and never part of an id.
func validID(s string) bool {
	if s == "" || len(s) > maxID || s == "." || s == ".." {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '.', c == '_', c == '~':
		default:
			return false
		}
	}
	return true
}

// plainPath is whether the path has one reading only: no escapes, no empty and
// no dot segments. None of our paths needs any of these, so they are unknown
// rather than cleaned up, and nothing before or behind us can read them in
// another way.
func plainPath(u *url.URL) bool {
	if !strings.HasPrefix(u.Path, "/") || strings.Contains(u.EscapedPath(), "%") {
		return false
	}
	segments := strings.Split(u.Path[1:], "/")
	for i, s := range segments {
		if s == "." || s == ".." || s == "" && i < len(segments)-1 {
			return false
		}
	}
	return true
}

// checkQuery refuses what grpc-gateway would drop or guess: unknown, repeated
// and malformed parameters. A fault names only fields that the contract has.
func (rt *route) checkQuery(raw string) error {
	if raw == "" {
		return nil
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return fault.QueryInvalid.New()
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		fd, ok := rt.query[key]
		if !ok {
			return fault.QueryInvalid.New()
		}
		v := values[key]
		if len(v) != 1 || !utf8.ValidString(v[0]) {
			return fault.QueryInvalid.On(key)
		}
		trial := rt.message.New().Interface()
		if runtime.PopulateFieldFromPath(trial, string(fd.Name()), v[0]) != nil {
			return fault.QueryInvalid.On(key)
		}
	}
	return nil
}
