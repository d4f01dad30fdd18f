package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// applySettings fills every flag that was not given from the environment, else
// from the YAML file. An unknown key of the file is an error with its line: a
// misspelt security setting must not be dropped in silence.
func applySettings(cmd *cobra.Command) error {
	flags := cmd.Flags()
	if err := fromEnvironment(flags.Lookup("config")); err != nil {
		return err
	}
	file, err := readSettings(cmd)
	if err != nil {
		return err
	}
	var failed error
	flags.VisitAll(func(f *pflag.Flag) {
		if failed != nil || f.Changed || f.Name == "help" {
			return
		}
		if failed = fromEnvironment(f); failed != nil || f.Changed {
			return
		}
		if v, ok := file[f.Name]; ok {
			failed = set(f, v.values, fmt.Sprintf("%s line %d", flags.Lookup("config").Value, v.line))
		}
	})
	return failed
}

func fromEnvironment(f *pflag.Flag) error {
	name := "TONGCHA_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
	v, ok := os.LookupEnv(name)
	if !ok || f.Changed {
		return nil
	}
	return set(f, []string{v}, name)
}

// set gives the flag its values and marks it as given.
func set(f *pflag.Flag, values []string, from string) error {
	for _, v := range values {
		if err := f.Value.Set(v); err != nil {
			return usageError("%s: --%s can't take that value (%s wanted)", from, f.Name, f.Value.Type())
		}
	}
	f.Changed = true
	return nil
}

type setting struct {
	values []string
	line   int
}

// readSettings reads the file named by --config. Keys are the names of flags of
// any command, so that one file serves all of them.
func readSettings(cmd *cobra.Command) (map[string]setting, error) {
	path := cmd.Flags().Lookup("config").Value.String()
	if path == "" {
		return nil, nil
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, usageError("--config: %w", err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(body, &doc); err != nil {
		return nil, usageError("%s: %w", path, err)
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		return nil, usageError("%s: want one key for each setting", path)
	}
	known := flagNames(cmd.Root())
	out := make(map[string]setting)
	for i := 0; i+1 < len(top.Content); i += 2 {
		k, v := top.Content[i], top.Content[i+1]
		if !known[k.Value] {
			return nil, usageError("%s line %d: there is no setting of that name; see `tongcha serve --help`", path, k.Line)
		}
		if _, twice := out[k.Value]; twice {
			return nil, usageError("%s line %d: the setting stands there twice", path, k.Line)
		}
		values, ok := scalars(v)
		if !ok {
			return nil, usageError("%s line %d: want a value or a list of values", path, v.Line)
		}
		out[k.Value] = setting{values: values, line: k.Line}
	}
	return out, nil
}

func scalars(n *yaml.Node) ([]string, bool) {
	switch n.Kind {
	case yaml.ScalarNode:
		return []string{n.Value}, true
	case yaml.SequenceNode:
		var out []string
		for _, c := range n.Content {
			if c.Kind != yaml.ScalarNode {
				return nil, false
			}
			out = append(out, c.Value)
		}
		return out, true
	}
	return nil, false
}

func flagNames(cmd *cobra.Command) map[string]bool {
	names := make(map[string]bool)
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		add := func(f *pflag.Flag) { names[f.Name] = true }
		c.Flags().VisitAll(add)
		c.PersistentFlags().VisitAll(add)
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(cmd)
	delete(names, "config")
	delete(names, "help")
	return names
}
