package main

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

func newConfig() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Show the settings of `serve` or `dev` and where each is from, or check them"}
	cmd.AddCommand(newConfigPrint(), newConfigValidate())
	return cmd
}

// forEach makes the command once for itself, with the settings of serve, and once
// for serve and dev beneath it. All take the flags of the command they are about.
func forEach(use, short, long string, run func(cmd *cobra.Command, of settingsOf) error) *cobra.Command {
	one := func(name string) *cobra.Command {
		of := settingsOfServe()
		if name == "dev" {
			of = settingsOfDev()
		}
		cmd := of.command
		cmd.Use, cmd.Short, cmd.Long, cmd.Example = name, fmt.Sprintf(short, of.name), long, ""
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return run(cmd, of) }
		addOutput(cmd)
		return cmd
	}
	cmd := one(use)
	cmd.Short = fmt.Sprintf(short, "serve") + ", or those of `dev`"
	cmd.AddCommand(one("serve"), one("dev"))
	return cmd
}

// settingsOf is a command that runs a hub, of which only the settings are wanted.
type settingsOf struct {
	name    string
	command *cobra.Command
	check   func(*cobra.Command) findings
}

func settingsOfServe() settingsOf {
	cmd, f := serveCommand()
	return settingsOf{"serve", cmd, func(cmd *cobra.Command) findings { return checkServe(cmd, f) }}
}

func settingsOfDev() settingsOf {
	cmd, f := devCommand()
	return settingsOf{"dev", cmd, func(cmd *cobra.Command) findings { return checkDev(cmd, f) }}
}

func newConfigPrint() *cobra.Command {
	cmd := forEach("print", "Print the settings of `%s` and where each is from",
		"Print every setting of `serve` (or `dev`) with the value it would have and where that is from: a flag, an\n"+
			"environment variable, a line of the --config file, or the default. Give it the flags that the hub is given.\n"+
			"-o yaml is itself a file for --config, once the *** that stand for what may be secret are filled in.",
		func(cmd *cobra.Command, _ settingsOf) error {
			warnUnknownVariables(cmd.ErrOrStderr(), cmd.Root())
			return printSettings(cmd)
		})
	for _, c := range append(cmd.Commands(), cmd) {
		c.Flags().Lookup("output").Usage = "table, json or yaml"
	}
	return cmd
}

// shownSetting is a setting as it is printed.
type shownSetting struct {
	Name   string `json:"name"`
	Value  any    `json:"value"`
	Origin string `json:"origin"`
}

func printSettings(cmd *cobra.Command) error {
	var all []shownSetting
	t := table{{"SETTING", "VALUE", "ORIGIN"}}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || f.Name == "output" {
			return
		}
		s := shownSetting{Name: f.Name, Value: shownValue(f), Origin: originOf(f)}
		all = append(all, s)
		text := fmt.Sprint(s.Value)
		if list, ok := s.Value.([]string); ok {
			text = strings.Join(list, ",")
		}
		t = append(t, []string{s.Name, dash(text), s.Origin})
	})
	if form, err := cmd.Flags().GetString("output"); err != nil || form != "yaml" {
		return emitAs(cmd, all, t, "table, json or yaml")
	}
	return writeSettings(cmd.OutOrStdout(), all)
}

// writeSettings prints a file for --config, each setting with its origin as a
// comment. The file does not name itself.
func writeSettings(w io.Writer, all []shownSetting) error {
	doc := &yaml.Node{Kind: yaml.MappingNode}
	for _, s := range all {
		if s.Name == "config" {
			continue
		}
		value := new(yaml.Node)
		if err := value.Encode(s.Value); err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		value.Style |= yaml.FlowStyle
		value.LineComment = s.Origin
		doc.Content = append(doc.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: s.Name}, value)
	}
	e := yaml.NewEncoder(w)
	if err := e.Encode(doc); err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	return e.Close()
}

// originOf says where a flag's value is from.
func originOf(f *pflag.Flag) string {
	switch from := f.Annotations[originKey]; {
	case len(from) > 0:
		return from[0]
	case f.Changed:
		return "--" + f.Name
	}
	return "default"
}

// shownValue is a flag's value without what may be secret in it.
func shownValue(f *pflag.Flag) any {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		out := []string{}
		for _, v := range list.GetSlice() {
			out = append(out, masked(f.Name, v))
		}
		return out
	}
	if f.Value.Type() == "bool" {
		return f.Value.String() == "true"
	}
	return masked(f.Name, f.Value.String())
}

// secretWords make the name of a setting that holds a secret, unless it names a
// file that does.
var secretWords = []string{"token", "secret", "password", "credential", "header"}

const mask = "***"

// masked hides the value of a secret setting, and in a URL all but scheme, host
// and path: user and query may hold a key of the gateway's.
func masked(name, v string) string {
	if v == "" {
		return v
	}
	isFile := strings.HasSuffix(name, "-file")
	if !isFile && slices.ContainsFunc(secretWords, func(w string) bool { return strings.Contains(name, w) }) {
		return mask
	}
	if !strings.Contains(v, "://") {
		return v
	}
	u, err := url.Parse(v)
	if err != nil {
		return mask
	}
	shown := u.Scheme + "://"
	if u.User != nil {
		shown += mask + "@"
	}
	shown += u.Host + u.EscapedPath()
	if u.RawQuery != "" || u.Fragment != "" {
		shown += "?" + mask
	}
	return shown
}

// unknownVariables lists the variables that look like settings and are none. Most
// are misspelt; a container platform may add some of its own.
func unknownVariables(root *cobra.Command) []string {
	known := map[string]bool{variableOf("config"): true}
	for name := range flagNames(root) {
		known[variableOf(name)] = true
	}
	var out []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if strings.HasPrefix(name, "TONGCHA_") && !known[name] {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func warnUnknownVariables(w io.Writer, root *cobra.Command) {
	for _, name := range unknownVariables(root) {
		_, _ = fmt.Fprintf(w, "warning: there is no setting for the variable %s\n", name)
	}
}
