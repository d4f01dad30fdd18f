package main

import "context"

// valueSize is what an order of the bare arms carries: about what the hub seals.
const valueSize = 256

// arm is one way to keep orders.
type arm struct {
	name string
	// open makes the queue empty and starts its workers; finished is told of every
	// order whose end is on disk.
	open func(ctx context.Context, at place, finished func(int, error)) (queue, error)
}

// place is where an arm keeps its orders.
type place struct {
	dir     string // its own
	url     string // of PostgreSQL
	writers int    // how many connections write gathered orders at the same time
}

func arms() []arm {
	return []arm{
		{name: "bare", open: openBare},
		{name: "whole", open: openWhole},
		{name: "river-single", open: riverArm(false)},
		{name: "river-gathered", open: riverArm(true)},
		{name: "pgx-single", open: pgxArm(false, false)},
		{name: "pgx-inserts", open: pgxArm(true, false)},
		{name: "pgx-gathered", open: pgxArm(true, true)},
	}
}

// settings of the server. Durability is PostgreSQL's default, spelled out; the
// rest is what one would set on a machine with 24 GiB whose disk and cores are
// shared with the hub, without replicas, which the hub has not either.
func settings() []string {
	return []string{
		"fsync=on", "synchronous_commit=on", "full_page_writes=on", "wal_sync_method=fdatasync",
		"shared_buffers=6GB", "effective_cache_size=16GB", "max_connections=200",
		"wal_level=minimal", "max_wal_senders=0", "wal_buffers=64MB", "max_wal_size=8GB", "min_wal_size=2GB",
		"checkpoint_timeout=15min", "checkpoint_completion_target=0.9",
		"random_page_cost=1.1", "effective_io_concurrency=200", "jit=off",
		"autovacuum=on", "autovacuum_naptime=10s", "autovacuum_vacuum_cost_limit=2000",
	}
}
