//go:build onethread

package group

import "runtime"

// pin keeps the committer on its thread, for tests that count its calls from
// outside: strace counts each thread's on its own.
func pin() { runtime.LockOSThread() }
