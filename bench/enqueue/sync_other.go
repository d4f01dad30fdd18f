//go:build !linux

package main

import "os"

// datasync is what bbolt calls after its writes, or comes near it.
func datasync(f *os.File) error { return f.Sync() }
