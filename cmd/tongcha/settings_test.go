package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestSettings: a flag wins over the environment, the environment over the
// file, the file over the default. Where nobody listens the answer names the
// folder that was chosen.
func TestSettings(t *testing.T) {
	t.Parallel()
	file := write(t, "tongcha.yaml", "# a comment\ndata: from-file\noutput: json\nhost: [a.example, b.example]\n")
	for _, c := range []struct {
		flags, env []string
		want       string
	}{
		{nil, nil, ".tongcha"},
		{[]string{"--config", file}, nil, "from-file"},
		{nil, []string{"TONGCHA_CONFIG=" + file}, "from-file"},
		{[]string{"--config", file}, []string{"TONGCHA_DATA=from-env"}, "from-env"},
		{[]string{"--config", file, "--data", "from-flag"}, []string{"TONGCHA_DATA=from-env"}, "from-flag"},
		{[]string{"--data", "from-flag"}, []string{"TONGCHA_DATA=from-env"}, "from-flag"},
		{nil, []string{"TONGCHA_DATA=from-env"}, "from-env"},
	} {
		cmd := command(t, append([]string{"platform", "list"}, c.flags...)...)
		cmd.Env = append(cmd.Env, c.env...)
		r := finish(t, cmd)
		if r.code != 3 || !strings.Contains(r.stderr, " "+filepath.Join(c.want, "hub", "admin.sock")) {
			t.Errorf("%v %v: want %s, got %d %s", c.flags, c.env, c.want, r.code, r.stderr)
		}
	}
	if r := tongcha(t, "version", "--config", file).must(t); !strings.HasPrefix(r.stdout, "{") {
		t.Errorf("output from the file: %s", r.stdout)
	}
	if r := tongcha(t, "version", "--config", file, "-o", "table").must(t); !strings.HasPrefix(r.stdout, "VERSION") {
		t.Errorf("output from the flag: %s", r.stdout)
	}
}

// TestBadSettings: a setting that can't be taken stops the command, with its
// place and without its value.
func TestBadSettings(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	for name, c := range map[string]struct{ file, env, says string }{
		"unknown key":         {file: "data: x\n\nsms-gatewey: " + secret + "\n", says: "line 3: there is no setting of that name"},
		"key twice":           {file: "keys: a\nkeys: " + secret + "\n", says: "line 2: the setting stands there twice"},
		"two documents":       {file: "keys: a\n---\nhost: " + secret + "\n", says: "more than one document"},
		"far too large":       {file: "keys: a\n#" + strings.Repeat(secret, 1<<20), says: "larger than 1 MiB"},
		"value of that kind":  {file: "data: x\nshutdown-delay: " + secret + "\n", says: "line 2: --shutdown-delay can't take that value; it wants a duration such as 30s or 5m"},
		"a mapping":           {file: "data:\n  x: " + secret + "\n", says: "line 2: want a value or a list of values"},
		"a list":              {file: "- " + secret + "\n", says: "one key for each setting"},
		"no YAML":             {file: "data: [" + secret + "\n", says: "yaml"},
		"value from outside":  {env: "TONGCHA_SHUTDOWN_DELAY=" + secret, says: "TONGCHA_SHUTDOWN_DELAY: --shutdown-delay can't take that value"},
		"file that isn't":     {env: "TONGCHA_CONFIG=nowhere.yaml", says: "--config: open nowhere.yaml"},
		"help is no setting":  {file: "help: true\n", says: "line 1"},
		"config is no key":    {file: "config: other.yaml\n", says: "line 1"},
		"value for a command": {file: "output: " + secret + "\n", says: "no key file"}, // serve has no --output; its own settings are missing
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := command(t, "serve")
			if c.file != "" {
				cmd.Args = append(cmd.Args, "--config", write(t, "tongcha.yaml", c.file))
			}
			if c.env != "" {
				cmd.Env = append(cmd.Env, c.env)
			}
			r := finish(t, cmd)
			if r.code != exitUsage || !strings.Contains(r.stderr, c.says) || strings.Contains(r.stderr, secret) {
				t.Errorf("exit code %d, want %d with %q: %s", r.code, exitUsage, c.says, r.stderr)
			}
		})
	}
}
