//go:build postgres

package postgres

// schemaVersion is the layout below. A hub refuses a higher one.
const schemaVersion = 1

// schema makes what is missing, in the first schema of the search path.
//
// Columns beside the record are those that a statement looks for; personal fields
// are sealed in it. next_time is null once an order has ended, dead_reason unless
// it is a dead letter. A lease is three columns: an order that nobody holds has no
// lease_until, and one whose holder was lost keeps a time that has passed, since
// the attempt may have reached the platform. in_doubt says that this was so before
// the present lease. Sequences survive a crash of the server, so that no token is
// given out twice.
const schema = `
CREATE TABLE IF NOT EXISTS meta (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  version integer NOT NULL,
  sealed bytea NOT NULL
);
CREATE TABLE IF NOT EXISTS hubs (
  hub text PRIMARY KEY,
  runs bigint NOT NULL
);
CREATE TABLE IF NOT EXISTS orders (
  id text COLLATE "C" PRIMARY KEY,
  platform text COLLATE "C" NOT NULL,
  subject bytea NOT NULL,
  next_time timestamptz,
  state_time timestamptz NOT NULL,
  dead_reason text,
  record bytea NOT NULL,
  token bigint NOT NULL DEFAULT 0,
  hub text,
  lease_until timestamptz,
  in_doubt boolean NOT NULL DEFAULT false
) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS orders_due ON orders (platform, next_time, id) WHERE next_time IS NOT NULL;
CREATE INDEX IF NOT EXISTS orders_of ON orders (subject, id);
CREATE INDEX IF NOT EXISTS orders_dead ON orders (platform, state_time, id) WHERE dead_reason IS NOT NULL;
CREATE INDEX IF NOT EXISTS orders_leased ON orders (hub) WHERE lease_until IS NOT NULL;
CREATE TABLE IF NOT EXISTS order_platforms (
  platform text COLLATE "C" PRIMARY KEY
);
CREATE TABLE IF NOT EXISTS order_counts (
  number_index bytea PRIMARY KEY,
  used integer NOT NULL,
  expire_time timestamptz NOT NULL
);
CREATE TABLE IF NOT EXISTS requests (
  key bytea PRIMARY KEY,
  body bytea NOT NULL,
  expire_time timestamptz NOT NULL,
  answer bytea
);
CREATE SEQUENCE IF NOT EXISTS lease_tokens`
