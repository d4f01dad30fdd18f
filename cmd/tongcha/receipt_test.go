package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// verifies runs `receipt verify` with what is on standard input; the language is that
// of the environment.
func verifies(t *testing.T, lang, stdin string, args ...string) result {
	t.Helper()
	cmd := command(t, append([]string{"receipt", "verify"}, args...)...)
	cmd.Env = append(cmd.Env, "LC_ALL="+lang)
	cmd.Stdin = strings.NewReader(stdin)
	return finish(t, cmd)
}

// TestReceipts goes from an order that is refused to what a desk makes of its
// receipt, with the published keys alone.
func TestReceipts(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	h := startDev(t, data)
	p := h.verified("13800000002", "15002X")
	id := p.order(p.lookUp("sim-refusing", "sim-redirecting").LookupID, "r", "sim-refusing")["sim-refusing"].UnbindID
	if refused := p.awaitOrder(id, soon(), "UNBIND_STATE_REFUSED"); refused.Receipt == "" {
		t.Fatalf("no receipt: %+v", refused)
	}
	body := p.get("/v1/unbinds/" + id).body
	jws := decode[orderBody](t, body).Receipt
	if list := want[ordersBody](t, p.get("/v1/unbinds")); list.Unbinds[0].Receipt != "" {
		t.Error("a list has a receipt")
	}
	keys := h.do("GET", "/.well-known/tongcha-receipt-keys.json", "", nil)
	jwks := write(t, "keys.json", string(keys.body))
	file, order := write(t, "receipt.jws", jws+"\n"), write(t, "order.json", string(body))
	elsewhere := filepath.Join(t.TempDir(), "nothing")
	for what, r := range map[string]result{
		"the file":               verifies(t, "en_GB.UTF-8", "", file, "--jwks", jwks, "--data", elsewhere),
		"the order":              verifies(t, "C", "", order, "--jwks", jwks, "--data", elsewhere),
		"standard input":         verifies(t, "", string(body), "-", "--jwks", jwks, "--data", elsewhere, "--lang", "en"),
		"with the hub's own key": verifies(t, "en", jws, "-", "--data", data),
	} {
		r.must(t)
		for _, part := range []string{"valid: ", "spiffe://tongcha.local/hub/hub", id, "模拟支付 (sim-refusing)", "138****0002", "refused by the platform (REFUSED)", "(HAS_BALANCE)", "余额", "UTC+8"} {
			if !strings.Contains(r.stdout, part) {
				t.Errorf("%s: no %q in\n%s", what, part, r.stdout)
			}
		}
	}
	zh := verifies(t, "zh_CN.UTF-8", "", file, "--jwks", jwks).must(t).stdout
	for _, part := range []string{"有效", "平台拒绝 (REFUSED)", "账号内有余额 (HAS_BALANCE)", "138****0002"} {
		if !strings.Contains(zh, part) {
			t.Errorf("no %q in\n%s", part, zh)
		}
	}
	v := decode[verdict](t, []byte(verifies(t, "", jws, "-", "--jwks", jwks, "-o", "json").must(t).stdout))
	if !v.Valid || v.Receipt.UnbindID != id || v.Receipt.AccountCount != 1 || v.Receipt.Outcome != "REFUSED" {
		t.Errorf("%+v", v)
	}
	checkRefusedReceipts(t, jws, string(body), jwks, data)
	checkAppeal(t, p, id, jws, jwks)
}

// checkAppeal appeals: this platform yields to the first one, once, also when the
// hub is killed in between, and the receipt of that end is the newer one.
func checkAppeal(t *testing.T, p person, id, older, jwks string) {
	t.Helper()
	h := p.hub
	wantError(t, p.post("/v1/unbinds/"+id+":cancel", nil), 400, "ALREADY_TERMINAL")
	for _, bad := range []any{`{"appeal":1e400}`, `{"appeal":1.5}`, `{"appeal":1,"appeal":1}`, `{"unbindId":"x"}`, `{"nth":1}`, "["} {
		wantError(t, p.post("/v1/unbinds/"+id+":appeal", bad), 400, "BODY_INVALID")
	}
	for range 2 {
		if o := want[orderBody](t, p.post("/v1/unbinds/"+id+":appeal", map[string]int{"appeal": 1})); o.Appeals != 1 {
			t.Errorf("%+v", o)
		}
	}
	h.kill()
	h = startDev(t, h.data)
	p = p.at(h)
	o := p.awaitOrder(id, soon(), "UNBIND_STATE_COMPLETED")
	if n := effects(t, h.data)[id+" at sim-refusing"]; n != 1 || o.Appeals != 1 {
		t.Errorf("%d effects, %+v", n, o)
	}
	wantError(t, p.post("/v1/unbinds/"+id+":appeal", nil), 400, "ALREADY_TERMINAL")
	for jws, sequence := range map[string]int{older: 0, o.Receipt: 1} { // the older one is still the hub's word
		if v := decode[verdict](t, []byte(verifies(t, "", jws, "-", "--jwks", jwks, "-o", "json").must(t).stdout)); v.Receipt.Sequence != sequence {
			t.Errorf("%+v, want sequence %d", v.Receipt, sequence)
		}
	}
}

func checkRefusedReceipts(t *testing.T, jws, body, jwks, data string) {
	t.Helper()
	other := "A"
	if jws[len(jws)/2] == 'A' {
		other = "B"
	}
	flipped := jws[:len(jws)/2] + other + jws[len(jws)/2+1:]
	const otherKey = `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`
	for what, c := range map[string]struct {
		stdin string
		args  []string
		code  int
		name  string // in the JSON
		en    string
		zh    string
	}{
		"flipped":            {flipped, []string{"-", "--jwks", jwks}, 1, "SIGNATURE", "not valid: the signature", "无效：签名"},
		"cut":                {jws[:len(jws)-2], []string{"-", "--jwks", jwks}, 1, "SIGNATURE", "not valid: the signature", "无效：签名"},
		"half":               {jws[:50], []string{"-", "--jwks", jwks}, 1, "FORM", "no receipt", "不是回执"},
		"empty":              {"", []string{"-", "--jwks", jwks}, 1, "NO_RECEIPT", "no receipt", "没有回执"},
		"an open order":      {`{"unbindId":"x"}`, []string{"-", "--jwks", jwks}, 1, "NO_RECEIPT", "no receipt", "没有回执"},
		"twice":              {`{"receipt":"x",` + body[1:], []string{"-", "--jwks", jwks}, 1, "NO_RECEIPT", "no receipt", "没有回执"},
		"another header":     {"eyJhbGciOiJub25lIn0.e30.AAAA", []string{"-", "--jwks", jwks}, 1, "HEADER", "don't rely on it", "请勿采信"},
		"huge":               {strings.Repeat(jws+" ", 1000), []string{"-", "--jwks", jwks}, 1, "NO_RECEIPT", "no receipt", "没有回执"},
		"another hub's keys": {jws, []string{"-", "--jwks", write(t, "other.json", otherKey)}, 3, "KEY_UNKNOWN", "get the hub's keys again", "重新获取"},
		"no keys":            {jws, []string{"-", "--data", t.TempDir()}, 3, "", "give --jwks", "give --jwks"},
		"keys are none":      {jws, []string{"-", "--jwks", write(t, "none.json", "{}")}, 2, "", "JWK Set", "JWK Set"},
		"no such keys":       {jws, []string{"-", "--jwks", "missing.json"}, 2, "", "missing.json", "missing.json"},
		"no such file":       {"", []string{"missing.jws", "--data", data}, 2, "", "missing.jws", "missing.jws"},
		"no file":            {"", nil, 2, "", "--help", "--help"},
		"another language":   {jws, []string{"-", "--lang", "fr", "--data", data}, 2, "", "zh or en", "zh or en"},
		"another form":       {jws, []string{"-", "-o", "yaml", "--data", data}, 2, "", "table or json", "table or json"},
	} {
		r := verifies(t, "en", c.stdin, c.args...)
		if r.code != c.code || r.stdout != "" || !strings.Contains(r.stderr, c.en) || strings.Contains(r.stderr, jws[:40]) {
			t.Errorf("%s: %+v, want exit code %d with %q", what, r, c.code, c.en)
		}
		if r := verifies(t, "zh_CN.UTF-8", c.stdin, c.args...); r.code != c.code || !strings.Contains(r.stderr, c.zh) {
			t.Errorf("%s: %+v, want exit code %d with %q", what, r, c.code, c.zh)
		}
		if c.name == "" {
			continue
		}
		r = verifies(t, "en", c.stdin, append([]string{"-o", "json"}, c.args...)...)
		if v := decode[verdict](t, []byte(r.stdout)); r.code != c.code || v.Valid || v.Problem != c.name || v.Receipt != nil {
			t.Errorf("%s: %+v, want %s", what, r, c.name)
		}
	}
}
