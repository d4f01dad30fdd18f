package main

import (
	"os"
	"syscall"
)

// datasync is what bbolt calls after its writes.
func datasync(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }
