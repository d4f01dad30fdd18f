package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"

	"github.com/tongcha/tongcha/server"
)

// exitDisk is sysexits.h's EX_IOERR: the hub could not write.
const exitDisk = 74

// lastWords is how long a hub whose database broke may take to say so. It says so
// within milliseconds, unless whoever reads its log hangs.
const lastWords = 500 * time.Millisecond

// endWhenBroken ends the process when the hub's database broke, whatever else goes
// on: a start, a stop, a log that nobody reads. Only the end makes sure that
// nothing is confirmed any more. before is run first; it may be nil.
func endWhenBroken(hub *server.Hub, before func()) {
	go func() {
		<-hub.Broken()
		time.AfterFunc(lastWords, func() { os.Exit(exitDisk) })
		if before != nil {
			before()
		}
		fmt.Fprintln(os.Stderr, "tongcha: "+hub.OfDisk(nil).Error())
		os.Exit(exitDisk)
	}()
}

// awaitEnd waits for endWhenBroken where that is what ended the hub, so that it
// says why and nobody else does.
func awaitEnd(err error) {
	var disk *server.DiskError
	if errors.As(err, &disk) && disk.Unknown {
		time.Sleep(2 * lastWords)
	}
}

// ofDisk reports whether the disk is why a hub ended or did not start.
func ofDisk(err error) bool {
	var disk *server.DiskError
	return errors.As(err, &disk)
}

// addMinFree adds the flag that says from when on new work is refused.
func addMinFree(s *pflag.FlagSet, mib *int) {
	s.IntVar(mib, "min-free", int(server.DefaultConfig().MinFree>>20), "`MiB` that must be free where the data folder lies; below it new verifications, lookups and orders are refused; 0 for never")
}
