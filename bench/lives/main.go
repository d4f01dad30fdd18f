// Command lives measures how many orders a second live their whole life durably,
// from enqueue over claim to finish, in the hub's store and beside it in PostgreSQL.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"
)

func main() {
	o := options{producers: []int{1, 16, 128}}
	flag.StringVar(&o.dir, "dir", ".", "a folder on the disk to measure, which other users can reach; folders are made in it and removed")
	flag.IntVar(&o.rounds, "rounds", 3, "how often each arm is measured with each number of producers, 1 to 20")
	flag.DurationVar(&o.each, "each", 4*time.Second, "how long each of these lasts, beyond its warm-up, at most 1m")
	flag.IntVar(&o.writers, "writers", 1, "how many connections write gathered orders to PostgreSQL at the same time, 1 to 8")
	only := flag.String("only", "", "names of arms, such as whole,river-gathered; default all")
	profile := flag.String("cpuprofile", "", "write a CPU profile of this process to the file")
	flag.Parse()
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := profiled(*profile, func() error { return run(ctx, os.Stdout, o) })
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lives:", err)
		os.Exit(1)
	}
}

func profiled(path string, f func() error) error {
	if path == "" {
		return f()
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	if err := pprof.StartCPUProfile(out); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	return f()
}
