//go:build unix

package upgrade

import (
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// supported says that descriptors can be passed to a process.
const supported = true

// openInherited makes sockets of count descriptors from number first on. All must be open, and none reaches a child from now
// on. What neither listens nor takes packets is left open: it is for somebody else.
func openInherited(first, count int) ([]inherited, error) {
	for fd := first; fd < first+count; fd++ {
		if _, err := modeOf(fd); err != nil {
			return nil, fmt.Errorf("upgrade: %s is %d, but descriptor %d is not open: %w", variableFDs, count, fd, err)
		}
	}
	all := make([]inherited, count)
	for i := range all {
		syscall.CloseOnExec(first + i)
	}
	for i := range all {
		if err := all[i].open(first + i); err != nil {
			closeInherited(all)
			return nil, err
		}
	}
	return all, nil
}

// fileAt tells the file at path from any other that may come to be there, as long as it is held on to. It is empty if there is none.
func fileAt(path string) string {
	var stat syscall.Stat_t
	if err := ignoringEINTR(func() error { return syscall.Lstat(path, &stat) }); err != nil {
		return ""
	}
	return fmt.Sprintf("%d,%d", stat.Dev, stat.Ino)
}

// modeOf asks what an open descriptor is of.
func modeOf(fd int) (uint32, error) {
	var stat syscall.Stat_t
	err := ignoringEINTR(func() error { return syscall.Fstat(fd, &stat) })
	return uint32(stat.Mode), os.NewSyscallError("fstat", err)
}

// open makes a listener or a packet connection of fd, and closes fd if it could.
func (i *inherited) open(fd int) error {
	if mode, err := modeOf(fd); err != nil || mode&syscall.S_IFMT != syscall.S_IFSOCK {
		return err
	}
	kind, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TYPE)
	if err != nil {
		return fmt.Errorf("upgrade: descriptor %d: %w", fd, os.NewSyscallError("getsockopt", err))
	}
	listens, _ := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
	if kind != syscall.SOCK_DGRAM && listens == 0 {
		return nil
	}
	file := os.NewFile(uintptr(fd), "inherited socket")
	defer file.Close() // package net uses a duplicate
	if kind == syscall.SOCK_DGRAM {
		i.packetConn, err = net.FilePacketConn(file)
	} else {
		i.listener, err = net.FileListener(file)
	}
	if err != nil {
		return fmt.Errorf("upgrade: descriptor %d: %w", fd, err)
	}
	return nil
}

// openControl opens what may be the socket to the parent, or returns nil if fd cannot be it. fd stays open: it may be
// somebody else's.
func openControl(fd int) net.Conn {
	kind, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TYPE)
	if err != nil || kind != syscall.SOCK_STREAM {
		return nil
	}
	peer, err := syscall.Getpeername(fd)
	if _, isUnix := peer.(*syscall.SockaddrUnix); err != nil || !isUnix {
		return nil
	}
	file, err := duplicateFD(fd)
	if err != nil {
		return nil
	}
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil
	}
	return conn
}

// peek waits for data and returns it without taking it.
func peek(conn net.Conn, p []byte) (n int, err error) {
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return 0, err
	}
	waitErr := raw.Read(func(fd uintptr) bool {
		err = ignoringEINTR(func() error {
			n, _, err = syscall.Recvfrom(int(fd), p, syscall.MSG_PEEK)
			return err
		})
		return err != syscall.EAGAIN
	})
	switch {
	case waitErr != nil:
		return 0, waitErr
	case err != nil:
		return 0, os.NewSyscallError("recvfrom", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// closeFD closes a descriptor that was passed to this process.
func closeFD(fd int) { syscall.Close(fd) }

// newControl makes a pair of connected sockets: one for us, and one that a child gets.
func newControl() (ours net.Conn, theirs *os.File, err error) {
	syscall.ForkLock.RLock() // no child of somebody else gets them
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "control")
	own := os.NewFile(uintptr(fds[0]), "control")
	defer own.Close()
	if ours, err = net.FileConn(own); err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// duplicate is a descriptor of the socket behind conn, which must be closed. The File of package net's sockets would make it,
// and so the socket itself, blocking when a process is started with it.
func duplicate(conn syscall.Conn) (*os.File, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var file *os.File
	if controlErr := raw.Control(func(fd uintptr) { file, err = duplicateFD(int(fd)) }); controlErr != nil {
		return nil, controlErr
	}
	return file, err
}

func duplicateFD(fd int) (*os.File, error) {
	duplicate, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(duplicate), "socket"), nil
}

// ownGroup keeps what a terminal sends to the processes in its foreground from a child: it is told by its parent.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

func ignoringEINTR(call func() error) error {
	for {
		if err := call(); err != syscall.EINTR {
			return err
		}
	}
}
