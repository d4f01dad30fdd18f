package fleet

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// Main is the whole life of a process of platforms: where this process is one,
// it does not return. Call it first in main.
func Main() {
	if os.Getenv(roleVariable) == "" {
		return
	}
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "platforms:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve runs the platforms of the opening and obeys commands until the input
// ends. Connections end with the process.
func serve(in io.Reader, out io.Writer) error {
	lines, replies := json.NewDecoder(bufio.NewReader(in)), json.NewEncoder(out)
	var o opening
	if err := lines.Decode(&o); err != nil {
		return err
	}
	var all []*platform
	var first reply
	for _, p := range o.Platforms {
		one, err := newPlatform(o, p)
		if err != nil {
			return err
		}
		all = append(all, one)
		first.Platforms = append(first.Platforms, Address{ID: p.ID, Address: one.address()})
	}
	if err := replies.Encode(first); err != nil {
		return err
	}
	for {
		var c command
		if err := lines.Decode(&c); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := replies.Encode(obey(all, c)); err != nil {
			return err
		}
	}
}

func obey(all []*platform, c command) reply {
	var r reply
	for _, p := range all {
		if c.Set != nil && (len(c.Platforms) == 0 || slices.Contains(c.Platforms, p.id)) {
			if err := p.set(*c.Set); err != nil {
				r.Problem = err.Error()
			}
		}
		r.Served += p.served.Load()
		r.Sent += p.sent.Load()
	}
	return r
}
