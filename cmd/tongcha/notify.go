package main

import (
	"log/slog"
	"net"
	"os"
)

// notify tells the service manager how the hub is: "READY=1" or "STOPPING=1" to
// the datagram socket that NOTIFY_SOCKET names, as systemd's sd_notify does. A
// name that begins with @ is of the abstract kind. Where there is none it does
// nothing; a hub that can't tell goes on.
func notify(log *slog.Logger, state string) {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		log.Warn("the service manager was not told", "state", state, "error", err)
		return
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte(state)); err != nil {
		log.Warn("the service manager was not told", "state", state, "error", err)
	}
}
