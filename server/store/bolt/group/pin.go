//go:build !onethread

package group

// pin does nothing: the committer may change threads.
func pin() {}
