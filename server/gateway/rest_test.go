package gateway

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	oversightv1 "github.com/tongcha/tongcha/gen/go/tongcha/oversight/v1"
)

// The table in route.go has every path, method and query parameter of the
// generated description, and no other.
func TestTableIsTheContract(t *testing.T) {
	raw, err := os.ReadFile("../../gen/openapi/tongcha.swagger.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name, In string }
		}
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			key := strings.ToUpper(method) + " " + path
			want[key] = nil
			for _, p := range op.Parameters {
				if p.In == "query" {
					want[key] = append(want[key], p.Name)
				}
			}
		}
	}
	routes, err := compile(table)
	if err != nil {
		t.Fatal(err)
	}
	for _, rt := range routes {
		key := rt.method + " " + rt.path
		names, ok := want[key]
		if !ok {
			t.Errorf("%s is not in the contract", key)
		}
		delete(want, key)
		var got []string
		for name := range rt.query {
			got = append(got, name)
		}
		slices.Sort(got)
		slices.Sort(names)
		if !slices.Equal(got, names) {
			t.Errorf("%s: query %v, contract %v", key, got, names)
		}
	}
	for key := range want {
		t.Errorf("%s is missing in the table", key)
	}
}

// Every line of the table reaches its method, and a success is 200.
func TestEveryRouteAnswers(t *testing.T) {
	s := openDefault(t)
	s.hub.set(func(h *hub) { h.frames = []*hubv1.Lookup{{}} })
	variable := regexp.MustCompile(`\{\w+\}`)
	for _, e := range table {
		path := variable.ReplaceAllString(e.path, "01ARZ3NDEKTSV4RRFFQ69G5FAV")
		body := ""
		if e.method == http.MethodPost {
			body = "{}"
		}
		r := s.do(e.method, path, body)
		if r.code != 200 || r.header.Get("Cache-Control") != "no-store" || r.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s: %d %v %s", e.method, e.path, r.code, r.header, r.text)
		}
		s.hub.set(func(h *hub) {
			if got := h.last.ProtoReflect().Descriptor().FullName(); got != e.request.ProtoReflect().Descriptor().FullName() {
				t.Errorf("%s %s: reached %s", e.method, e.path, got)
			}
		})
	}
}

// Bodies come out as the table in the design has them: flattened, camel case,
// whole numbers, zero where a count is 0 and nothing where there is none.
func TestShapeOfAnswers(t *testing.T) {
	s := openDefault(t)
	s.hub.set(func(h *hub) {
		h.answer = &hubv1.GetLookupResponse{Lookup: &hubv1.Lookup{
			LookupId: "L", State: hubv1.LookupState_LOOKUP_STATE_RUNNING, Asked: 2,
			NextPollAfter: durationpb.New(1500 * time.Millisecond), FinalBy: timestamppb.New(time.Unix(0, 0)),
			Answers: []*hubv1.Answer{
				{PlatformId: "a", State: hubv1.AnswerState_ANSWER_STATE_NOT_BOUND, AccountCount: proto.Int32(0)},
				{PlatformId: "b", State: hubv1.AnswerState_ANSWER_STATE_PENDING},
			},
		}}
	})
	r := s.do("GET", "/v1/lookups/L?wait=10s&sinceRevision=3", "")
	if r.code != 200 || r.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v %s", r.code, r.header, r.text)
	}
	if r.json["lookupId"] != "L" || r.json["state"] != "LOOKUP_STATE_RUNNING" || r.json["asked"] != 2.0 ||
		r.json["answered"] != 0.0 || r.json["nextPollAfter"] != "1.500s" || r.json["finalBy"] != "1970-01-01T00:00:00Z" {
		t.Errorf("lookup %s", r.text)
	}
	rows := r.json["answers"].([]any)
	zero, absent := rows[0].(map[string]any), rows[1].(map[string]any)
	if v, ok := zero["accountCount"]; !ok || v != 0.0 {
		t.Errorf("a count of 0 is %v, %t", v, ok)
	}
	for _, key := range []string{"accountCount", "boundBeforeHolder", "boundSinceHolder", "selfServiceUrl", "answerTime"} {
		if v, ok := absent[key]; ok {
			t.Errorf("%s should be absent, is %v", key, v)
		}
	}
	if p, ok := absent["products"].([]any); !ok || len(p) != 0 {
		t.Errorf("products %v", absent["products"])
	}
	s.hub.set(func(h *hub) {
		req := h.last.(*hubv1.GetLookupRequest)
		if req.LookupId != "L" || req.SinceRevision != 3 || req.Wait.AsDuration() != 10*time.Second {
			t.Errorf("request %v", req)
		}
	})
}

// protojson prints 64-bit integers as strings, so no message has any.
func TestNoLongIntegers(t *testing.T) {
	seen := map[protoreflect.FullName]bool{}
	var walk func(protoreflect.MessageDescriptor)
	walk = func(m protoreflect.MessageDescriptor) {
		if seen[m.FullName()] || strings.HasPrefix(string(m.FullName()), "google.") {
			return
		}
		seen[m.FullName()] = true
		for i := range m.Fields().Len() {
			fd := m.Fields().Get(i)
			switch fd.Kind() {
			case protoreflect.Int64Kind, protoreflect.Uint64Kind, protoreflect.Sint64Kind, protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
				t.Errorf("%s is a 64-bit integer", fd.FullName())
			case protoreflect.MessageKind:
				walk(fd.Message())
			}
		}
	}
	services := append(hubServices(), oversightv1.File_tongcha_oversight_v1_coverage_proto.Services())
	for _, list := range services {
		for i := range list.Len() {
			for j := range list.Get(i).Methods().Len() {
				walk(list.Get(i).Methods().Get(j).Input())
				walk(list.Get(i).Methods().Get(j).Output())
			}
		}
	}
	if len(seen) < 20 {
		t.Errorf("only %d messages seen", len(seen))
	}
}

func hubServices() []protoreflect.ServiceDescriptors {
	return []protoreflect.ServiceDescriptors{
		hubv1.File_tongcha_hub_v1_catalogue_proto.Services(), hubv1.File_tongcha_hub_v1_verification_proto.Services(),
		hubv1.File_tongcha_hub_v1_lookup_proto.Services(), hubv1.File_tongcha_hub_v1_unbind_proto.Services(),
	}
}

func TestGoodBodies(t *testing.T) {
	s := openDefault(t)
	for name, c := range map[string]struct {
		body string
		head []string
	}{
		"empty, no type":      {"", nil},
		"empty, another type": {"", []string{"Content-Type: text/plain"}},
		"object":              {"{}", nil},
		"space around":        {" \n{} \r\n\t", nil},
		"charset":             {`{"requestId":"中"}`, []string{"Content-Type: application/json; charset=UTF-8"}},
		"identity":            {"{}", []string{"Content-Encoding: identity"}},
		"null field":          {`{"requestId":null}`, nil},
	} {
		if r := s.do("POST", "/v1/lookups", c.body, c.head...); r.code != 200 {
			t.Errorf("%s: %d %s", name, r.code, r.text)
		}
	}
	var got *hubv1.ConfirmVerificationRequest
	s.do("POST", "/v1/verifications/V1:confirm", `{"code":"123456"}`)
	s.hub.set(func(h *hub) { got = h.last.(*hubv1.ConfirmVerificationRequest) })
	if got.VerificationId != "V1" || got.Code != "123456" {
		t.Errorf("request %v", got)
	}
	full := `{"requestId":"` + strings.Repeat("a", bodyLimit-len(`{"requestId":""}`)) + `"}`
	if r := s.do("POST", "/v1/lookups", full); r.code != 200 {
		t.Errorf("a body of the limit: %d", r.code)
	}
}
