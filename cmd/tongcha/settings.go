package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
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
	if problems := fillSettings(cmd); len(problems) > 0 {
		return problems[0]
	}
	return nil
}

// fillSettings does so and goes on after a problem, so that all can be shown.
func fillSettings(cmd *cobra.Command) (problems []error) {
	flags := cmd.Flags()
	if err := fromEnvironment(flags.Lookup("config")); err != nil {
		return []error{err}
	}
	path := flags.Lookup("config").Value.String()
	file, problems := readSettings(cmd.Root(), path)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed || f.Name == "help" {
			return
		}
		if err := fromEnvironment(f); err != nil || f.Changed {
			if err != nil {
				problems = append(problems, err)
			}
			return
		}
		if v, ok := file[f.Name]; ok {
			place := fmt.Sprintf("%s:%d", path, v.line)
			if err := set(f, v.values, fmt.Sprintf("%s line %d", path, v.line), place); err != nil {
				problems = append(problems, err)
			}
		}
	})
	return problems
}

func variableOf(flag string) string {
	return "TONGCHA_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func fromEnvironment(f *pflag.Flag) error {
	name := variableOf(f.Name)
	v, ok := os.LookupEnv(name)
	if !ok || f.Changed {
		return nil
	}
	return set(f, []string{v}, name, name)
}

// originKey is the annotation of a flag that was not given on the command line:
// where its value is from.
const originKey = "tongcha_origin"

// set gives the flag its values and marks it as given, by whom it notes.
func set(f *pflag.Flag, values []string, from, origin string) error {
	for _, v := range values {
		if err := f.Value.Set(v); err != nil {
			return usageError("%s: --%s can't take that value; it wants %s", from, f.Name, wanted(f.Value.Type()))
		}
	}
	f.Changed = true
	if f.Annotations == nil {
		f.Annotations = make(map[string][]string)
	}
	f.Annotations[originKey] = []string{origin}
	return nil
}

// wanted says what a flag of that kind takes.
func wanted(kind string) string {
	switch kind {
	case "duration":
		return "a duration such as 30s or 5m"
	case "int":
		return "a whole number"
	case "float64":
		return "a number such as 0.5"
	case "bool":
		return "true or false"
	case "age":
		return "a time such as 7d or 36h"
	case "rate":
		return "a rate such as 10/s"
	case "stringSlice":
		return "a list such as a,b"
	}
	return "a " + kind
}

type setting struct {
	values []string
	line   int
}

// readSettings reads the file at path; "" is none. Keys are the names of flags of
// any command, so that one file serves all of them.
func readSettings(root *cobra.Command, path string) (map[string]setting, []error) {
	if path == "" {
		return nil, nil
	}
	doc, err := readDocument(path)
	if err != nil {
		return nil, []error{err}
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		return nil, []error{usageError("%s: want one key for each setting", path)}
	}
	known := flagNames(root)
	out := make(map[string]setting)
	var problems []error
	for i := 0; i+1 < len(top.Content); i += 2 {
		k, v := top.Content[i], top.Content[i+1]
		values, ok := scalars(v)
		_, twice := out[k.Value]
		switch {
		case !known[k.Value]:
			problems = append(problems, usageError("%s line %d: there is no setting of that name; see `tongcha serve --help`", path, k.Line))
		case twice:
			problems = append(problems, usageError("%s line %d: the setting stands there twice", path, k.Line))
		case !ok:
			problems = append(problems, usageError("%s line %d: want a value or a list of values", path, v.Line))
		default:
			out[k.Value] = setting{values: values, line: k.Line}
		}
	}
	return out, problems
}

// maxSettings is far more bytes than every setting needs; a wrong path may lead
// to a file of any size, or without an end.
const maxSettings = 1 << 20

// readDocument reads the one document of a YAML file; an empty file has none. A
// second one is refused: what stands in it would be dropped in silence.
func readDocument(path string) (doc yaml.Node, err error) {
	f, err := os.Open(path)
	if err != nil {
		return doc, usageError("--config: %w", err)
	}
	defer func() { _ = f.Close() }()
	body, err := io.ReadAll(io.LimitReader(f, maxSettings+1))
	switch {
	case err != nil:
		return doc, usageError("--config: %w", err)
	case len(body) > maxSettings:
		return doc, usageError("%s: larger than 1 MiB; is it the file of settings?", path)
	}
	d := yaml.NewDecoder(bytes.NewReader(body))
	if err := d.Decode(&doc); errors.Is(err, io.EOF) {
		return doc, nil
	} else if err != nil {
		return doc, usageError("%s: %w", path, err)
	}
	var next yaml.Node
	if err := d.Decode(&next); !errors.Is(err, io.EOF) {
		return doc, usageError("%s: more than one document; settings behind a line --- would not count", path)
	}
	return doc, nil
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
