package pgtest

import (
	"os/exec"
	"runtime"
	"syscall"
)

// attributes has the server end with this process, however that ends.
func attributes(as *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: as, Setpgid: true, Pdeathsig: syscall.SIGQUIT}
}

// run starts the server and tells exited when it has ended. The kernel means the
// thread, not the process, when it speaks of a parent's death, so that the thread
// is kept until then.
func run(server *exec.Cmd, exited chan<- error) (int, error) {
	type start struct {
		pid int
		err error
	}
	started := make(chan start)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := server.Start(); err != nil {
			started <- start{err: err}
			return
		}
		started <- start{pid: server.Process.Pid}
		exited <- server.Wait()
	}()
	s := <-started
	return s.pid, s.err
}
