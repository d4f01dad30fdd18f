package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// shownSettings is what `config print -o json` says, by setting.
func shownSettings(t *testing.T, r result) map[string]shownSetting {
	t.Helper()
	out := make(map[string]shownSetting)
	for _, s := range decode[[]shownSetting](t, []byte(r.must(t).stdout)) {
		out[s.Name] = s
	}
	return out
}

// TestConfigPrint: every setting with its value and where it is from, in the
// order in which they win.
func TestConfigPrint(t *testing.T) {
	t.Parallel()
	file := write(t, "tongcha.yaml", "# a comment\nhttp: 127.0.0.1:1\ngrpc: 127.0.0.1:2\nhub-id: three\nhost: [a.example, b.example]\n\nallow-unattested-unbind: true\n")
	for _, args := range [][]string{{"config", "print"}, {"config", "print", "serve"}} {
		cmd := command(t, append(args, "-o", "json", "--config", file, "--grpc", "127.0.0.1:9")...)
		cmd.Env = append(cmd.Env, "TONGCHA_HTTP=127.0.0.1:8", "TONGCHA_GRPC=127.0.0.1:7", "TONGCHA_HTPP=x")
		r := finish(t, cmd)
		got := shownSettings(t, r)
		for name, want := range map[string]shownSetting{
			"grpc":                    {Value: "127.0.0.1:9", Origin: "--grpc"},
			"http":                    {Value: "127.0.0.1:8", Origin: "TONGCHA_HTTP"},
			"hub-id":                  {Value: "three", Origin: file + ":4"},
			"host":                    {Value: []any{"a.example", "b.example"}, Origin: file + ":5"},
			"allow-unattested-unbind": {Value: true, Origin: file + ":7"},
			"metrics":                 {Value: "127.0.0.1:9090", Origin: "default"},
			"carrier":                 {Value: []any{}, Origin: "default"},
			"data":                    {Value: ".tongcha", Origin: "default"},
			"config":                  {Value: file, Origin: "--config"},
		} {
			want.Name = name
			if !reflect.DeepEqual(got[name], want) {
				t.Errorf("%v: %+v, want %+v", args, got[name], want)
			}
		}
		if _, ok := got["output"]; ok || got["help"].Name != "" {
			t.Errorf("what is no setting of serve is shown: %v", got)
		}
		if !strings.Contains(r.stderr, "TONGCHA_HTPP") || strings.Contains(r.stderr, "TONGCHA_HTTP\n") {
			t.Errorf("the misspelt variable is not named: %s", r.stderr)
		}
	}
	help := tongcha(t, "serve", "--help").must(t).stdout
	for name := range shownSettings(t, tongcha(t, "config", "print", "serve", "-o", "json")) {
		if !strings.Contains(help, "--"+name+" ") {
			t.Errorf("serve has no --%s", name)
		}
	}
	dev := shownSettings(t, tongcha(t, "config", "print", "dev", "--accounts", "a.csv", "-o", "json"))
	if dev["accounts"] != (shownSetting{"accounts", "a.csv", "--accounts"}) || dev["log-level"].Value != "warn" || dev["keys"].Name != "" {
		t.Errorf("dev: %v", dev)
	}
	columns(t, tongcha(t, "config", "print", "--config", file).must(t).stdout)
}

// TestConfigPrintYAML: what it prints is a file that --config takes, and says the
// same.
func TestConfigPrintYAML(t *testing.T) {
	t.Parallel()
	args := []string{"--http", "127.0.0.1:1", "--host", "a.example,b.example", "--shutdown-delay", "5s", "--allow-unattested-unbind", "--hub-id", "on"}
	first := tongcha(t, append([]string{"config", "print", "-o", "yaml"}, args...)...).must(t).stdout
	if !strings.Contains(first, "shutdown-delay: 5s # --shutdown-delay\n") {
		t.Errorf("no origin as a comment:\n%s", first)
	}
	want := shownSettings(t, tongcha(t, append([]string{"config", "print", "-o", "json"}, args...)...))
	file := write(t, "tongcha.yaml", first)
	got := shownSettings(t, tongcha(t, "config", "print", "-o", "json", "--config", file))
	for name, s := range got {
		if name != "config" && (!reflect.DeepEqual(s.Value, want[name].Value) || !strings.HasPrefix(s.Origin, file+":")) {
			t.Errorf("%+v, want %+v", s, want[name])
		}
	}
}

// TestConfigPrintHidesSecrets: a token in the gateway's address is not shown, in
// no form, and where a secret lies in a file the file's name is.
func TestConfigPrintHidesSecrets(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	for _, form := range []string{"table", "json", "yaml"} {
		for _, value := range []string{
			"https://me:" + secret + "@sms.example/send", "https://sms.example/send?key=" + secret, "https://sms.example/send#" + secret, "ht tp://" + secret + "@sms",
		} {
			cmd := command(t, "config", "print", "-o", form, "--sms-token-file", "token.txt")
			cmd.Env = append(cmd.Env, "TONGCHA_SMS_GATEWAY="+value)
			r := finish(t, cmd).must(t)
			if strings.Contains(r.stdout+r.stderr, secret) || !strings.Contains(r.stdout, mask) || !strings.Contains(r.stdout, "token.txt") {
				t.Errorf("%s of %s: %s", form, value, r.stdout)
			}
		}
	}
	for name, want := range map[string]string{"trace-headers": mask, "sms-token": mask, "sms-token-file": secret, "http-key": secret, "data": secret} {
		if got := masked(name, secret); got != want {
			t.Errorf("--%s is shown as %q, want %q", name, got, want)
		}
	}
	if got := masked("sms-gateway", "https://sms.example:1/send"); got != "https://sms.example:1/send" {
		t.Errorf("an address without a secret is shown as %q", got)
	}
}

// calendarFile knows the holidays of some years to come, so that no test depends
// on the day it is run.
func calendarFile(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for i := range 3 {
		fmt.Fprintf(&b, "%d-01-01 off 元旦\n", time.Now().Year()+i)
	}
	return write(t, "holidays.txt", b.String())
}

// TestConfigValidate: all problems at once, each with what to do, and nothing is
// made.
func TestConfigValidate(t *testing.T) {
	t.Parallel()
	keys := filepath.Join(t.TempDir(), "keys.json")
	tongcha(t, "keys", "new", keys).must(t)
	good := []string{"--keys", keys, "--sms-gateway", "http://127.0.0.1:1/send", "--calendar", calendarFile(t), "--trusted-proxy", "10.0.0.0/8"}
	for name, c := range map[string]struct {
		args  []string
		file  string
		env   string
		code  int
		wants []string
	}{
		"good":         {args: good, wants: []string{"ok", "can start"}},
		"good by name": {args: append([]string{"serve"}, good...), wants: []string{"ok", "can start", "made at the first start"}},
		"no carrier":   {args: good, wants: []string{"warning", "unbinding is refused; give --carrier"}},
		"all detached": {args: append([]string{"--allow-unattested-unbind"}, good...), wants: []string{"unbinding detaches every account found"}},
		"mask":         {args: append(good, "--sms-gateway", "http://***@127.0.0.1:1/send"), code: 1, wants: []string{"--sms-gateway holds ***", "give the whole address"}},
		"kinds":        {args: good, file: "max-lookups: many\ntrace-sample: few\nallow-unattested-unbind: perhaps\n", code: 1, wants: []string{"a whole number", "a number such as", "true or false"}},
		"nothing":      {code: 1, wants: []string{"tongcha keys new FILE", "--sms-gateway"}},
		"everything": {
			args: []string{"--http", "0.0.0.0:1", "--carrier", "x", "--trusted-proxy", "y", "--keys", "nowhere", "--log-level", "loud"}, code: 1,
			file:  "# c\nsms-gatewey: x\nshutdown-delay: soon\n",
			wants: []string{"line 2: there is no setting", "line 3: --shutdown-delay can't take that value", "ID=HOST:PORT", "10.0.0.0/8", "key file nowhere", "--http-cert", "debug, info", "--sms-gateway"},
		},
		"variable":      {args: good, env: "TONGCHA_SHUTDOWN_DELAY=soon", code: 1, wants: []string{"TONGCHA_SHUTDOWN_DELAY: --shutdown-delay can't"}},
		"unknown":       {args: good, env: "TONGCHA_SHUTDOWN_DELLAY=1s", wants: []string{"warning", "TONGCHA_SHUTDOWN_DELLAY", "ok"}},
		"no file":       {args: append([]string{"--config", "nowhere.yaml"}, good...), code: 1, wants: []string{"nowhere.yaml"}},
		"token":         {args: append([]string{"--sms-token-file", "nowhere"}, good...), code: 1, wants: []string{"--sms-token-file: open nowhere"}},
		"no address":    {args: append(good, "--sms-gateway", "sms.example"), code: 1, wants: []string{"--sms-gateway must be a URL"}},
		"dev":           {args: []string{"dev"}, wants: []string{"`tongcha dev` can start"}},
		"dev elsewhere": {args: []string{"dev", "--http", "0.0.0.0:1", "--accounts", "nowhere.csv"}, code: 1, wants: []string{"this machine only", "nowhere.csv"}},
		"no such flag":  {args: []string{"--nonsense"}, code: 2, wants: []string{"--help"}},
		"no such hub":   {args: []string{"other"}, code: 2, wants: []string{"--help"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := filepath.Join(t.TempDir(), "data")
			cmd := command(t, append([]string{"config", "validate", "--data", data}, c.args...)...)
			if c.file != "" {
				cmd.Args = append(cmd.Args, "--config", write(t, "tongcha.yaml", c.file))
			}
			if c.env != "" {
				cmd.Env = append(cmd.Env, c.env)
			}
			r := finish(t, cmd)
			if r.code != c.code {
				t.Errorf("exit code %d, want %d", r.code, c.code)
			}
			for _, w := range c.wants {
				if !strings.Contains(r.stdout+r.stderr, w) {
					t.Errorf("does not say %q:\n%s%s", w, r.stdout, r.stderr)
				}
			}
			if _, err := os.Stat(data); !os.IsNotExist(err) {
				t.Errorf("the data folder was made: %v", err)
			}
		})
	}
	r := tongcha(t, "config", "validate", "-o", "json")
	if f := decode[findings](t, []byte(r.stdout)); r.code != 1 || len(f.Problems) < 2 || f.Warnings == nil || f.Notes == nil {
		t.Errorf("as JSON: %d %+v", r.code, f)
	}
}

// TestConfigValidateParts: what is not known is not missed once more, and what is
// given is not warned of.
func TestConfigValidateParts(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"nowhere.yaml", write(t, "broken.yaml", "a: [\n")} {
		broken := tongcha(t, "config", "validate", "-o", "json", "--config", file)
		if f := decode[findings](t, []byte(broken.stdout)); broken.code != 1 || len(f.Problems) != 1 || !strings.Contains(f.Problems[0], file) || len(f.Notes) != 1 {
			t.Errorf("without settings: %d %+v", broken.code, f)
		}
	}
	carrier := tongcha(t, "config", "validate", "--carrier", "mobile=127.0.0.1:1")
	if carrier.code != 1 || strings.Contains(carrier.stdout, "--carrier") {
		t.Errorf("with a carrier: %s", carrier.stdout)
	}
}
