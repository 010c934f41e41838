package systest

import (
	"syscall"

	"github.com/strand-net/strand/poller/sys"
)

// Recv is recv(2).
func (k *Kernel) Recv(fd int, p []byte) (int, syscall.Errno) {
	return k.transfer("recv", fd, p, (*endpoint).read)
}

// Send is send(2).
func (k *Kernel) Send(fd int, p []byte) (int, syscall.Errno) {
	return k.transfer("send", fd, p, (*endpoint).write)
}

func (k *Kernel) transfer(call string, fd int, p []byte, move func(*endpoint, []byte) (int, syscall.Errno)) (int, syscall.Errno) {
	k.enter(call, fd)
	defer k.enter(call+Returns, fd)
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	e, errno := k.socket(call, fd)
	if errno == 0 {
		if k.chance(e.file, k.faults.Interrupt) {
			errno = syscall.EINTR
		} else {
			n, errno = move(e, p[:min(len(p), sys.MaxTransfer)])
		}
	}
	k.trace(call, fd, n, errno)
	return n, errno
}

// Sendv is sendmsg(2). Unlike [sys.Kernel] it does not cut what is too much: the seam has to, and whoever asks for more than
// it takes gets less.
func (k *Kernel) Sendv(fd int, bufs [][]byte) (int, syscall.Errno) {
	var all []byte
	count := 0
	for _, buf := range bufs {
		if len(buf) == 0 {
			continue
		}
		if count++; count > sys.MaxVectors || len(all) >= sys.MaxTransfer {
			break
		}
		all = append(all, buf[:min(len(buf), sys.MaxTransfer-len(all))]...)
	}
	return k.transfer("sendv", fd, all, (*endpoint).write)
}

// Shutdown is shutdown(2).
func (k *Kernel) Shutdown(fd, how int) syscall.Errno {
	k.enter("shutdown", fd)
	k.mu.Lock()
	defer k.mu.Unlock()
	e, errno := k.socket("shutdown", fd)
	if errno == 0 {
		errno = e.shutdown(how)
	}
	k.trace("shutdown", fd, how, errno)
	return errno
}
