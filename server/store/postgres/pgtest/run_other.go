//go:build unix && !linux

package pgtest

import (
	"os/exec"
	"syscall"
)

func attributes(as *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: as, Setpgid: true}
}

// run starts the server and tells exited when it has ended.
func run(server *exec.Cmd, exited chan<- error) (int, error) {
	if err := server.Start(); err != nil {
		return 0, err
	}
	go func() { exited <- server.Wait() }()
	return server.Process.Pid, nil
}
