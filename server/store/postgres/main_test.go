//go:build postgres

package postgres_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tongcha/tongcha/server/seal"
	"github.com/tongcha/tongcha/server/store/postgres"
	"github.com/tongcha/tongcha/server/store/postgres/pgtest"
	"github.com/tongcha/tongcha/server/store/storetest"
)

// url is the database that TestMain started; each test has a schema of its own.
var url string

// TestMain starts a real server. Without one all fails: a spike that isn't held
// against PostgreSQL shows nothing.
func TestMain(m *testing.M) {
	s, err := pgtest.Start(os.TempDir(), "max_connections=400")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	url = s.URL()
	code := m.Run()
	if err := s.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// schemaOf makes the schema that stands for a folder, and returns how to reach it.
func schemaOf(t *testing.T, dir string) string {
	t.Helper()
	name := fmt.Sprintf("t%x", sha256.Sum256([]byte(dir)))[:40]
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	if _, err := conn.Exec(t.Context(), "CREATE SCHEMA IF NOT EXISTS "+name); err != nil {
		t.Fatal(err)
	}
	return url + " search_path=" + name + " pool_max_conns=8"
}

func keysIn(t *testing.T, dir string) *seal.Keys {
	t.Helper()
	path := filepath.Join(dir, "keys.json")
	if _, err := os.Stat(path); os.IsNotExist(err) {
		if err := seal.Create(path); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := seal.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// hub opens the store of a folder as one of its hubs.
func hub(t *testing.T, dir, name string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), postgres.Options{URL: schemaOf(t, dir), Hub: name, Keys: keysIn(t, dir)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContract(t *testing.T) {
	storetest.RunQueue(t, func(t *testing.T, dir string) storetest.Queue { return hub(t, dir, "hub") })
}
