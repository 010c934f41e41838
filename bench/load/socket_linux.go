package load

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/strand-net/strand/poller"
	"github.com/strand-net/strand/poller/sys"
)

// machine is the kernel of this machine, unless a test has another in its place.
var machine = sys.Host

// native reports whether what a kernel calls descriptors are Linux's, and its pollers Linux's, too.
func native(kernel sys.Kernel) bool { return kernel == machine }

// openSocket makes a non-blocking, close-on-exec socket that can connect to remote, and comes from source unless that is the zero Addr.
func openSocket(remote net.Addr, source netip.Addr) (int, error) {
	family, kind := unix.AF_UNIX, unix.SOCK_STREAM
	if ip := ipOf(remote); ip.IsValid() {
		family = unix.AF_INET6
		if ip.Is4() {
			family = unix.AF_INET
		}
	}
	if remote.Network() == "udp" {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if family == unix.AF_UNIX {
		return fd, nil
	}
	if kind == unix.SOCK_STREAM {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			unix.Close(fd)
			return -1, os.NewSyscallError("setsockopt", err)
		}
	}
	if err := bindSocket(fd, source); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// bindSocket binds to source, and leaves the port to connect(2): that finds one which is free for this destination, of which there are more
// than of ports that are free for all (IP_BIND_ADDRESS_NO_PORT, ip(7)).
func bindSocket(fd int, source netip.Addr) error {
	if !source.IsValid() {
		return nil
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	local, err := sockaddr(&net.TCPAddr{IP: source.AsSlice(), Zone: source.Zone()})
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, local); err != nil {
		return fmt.Errorf("bind to %v: %w", source, os.NewSyscallError("bind", err))
	}
	return nil
}

// unacknowledged is how many bytes of a socket its peer's kernel has not acknowledged (SIOCOUTQ, tcp(7)).
func unacknowledged(fd int) int {
	n, _ := unix.IoctlGetInt(fd, unix.TIOCOUTQ) // it fails for one that is closed
	return n
}

// connectNative is Kernel.Connect for sources that have more connections than there are ports which are free for all.
func connectNative(remote net.Addr, source netip.Addr) (int, error) {
	fd, err := openSocket(remote, source)
	if err != nil {
		return -1, err
	}
	if errno := connectSocket(fd, remote); errno != 0 && errno != syscall.EINPROGRESS {
		unix.Close(fd)
		return -1, os.NewSyscallError("connect", errno)
	}
	return fd, nil
}

// connectSocket begins to connect: EINPROGRESS is the usual answer of TCP, and Writable the end of it (connect(2)).
func connectSocket(fd int, remote net.Addr) syscall.Errno {
	to, err := sockaddr(remote)
	if err == nil {
		err = unix.Connect(fd, to)
	}
	if err != nil {
		return err.(syscall.Errno)
	}
	return 0
}

func sockaddr(addr net.Addr) (unix.Sockaddr, error) {
	switch addr := addr.(type) {
	case *net.UnixAddr:
		return &unix.SockaddrUnix{Name: addr.Name}, nil
	case *net.UDPAddr:
		return sockaddr((*net.TCPAddr)(addr)) // they are the same
	case *net.TCPAddr:
		if ip := addr.IP.To4(); ip != nil {
			return &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte(ip)}, nil
		}
		to := &unix.SockaddrInet6{Port: addr.Port, Addr: [16]byte(addr.IP.To16())}
		if addr.Zone != "" {
			zone, err := net.InterfaceByName(addr.Zone)
			if err != nil {
				return nil, syscall.ENODEV
			}
			to.ZoneId = uint32(zone.Index)
		}
		return to, nil
	}
	panic(fmt.Sprintf("load: no socket address for %T", addr))
}

// alarm wakes a poller at a given time, to within some microseconds: the runtime's own timers do so to within a millisecond.
type alarm struct {
	fd   int   // -1 for a poller that knows no timerfd
	zero int64 // to be added to kernel times, for CLOCK_MONOTONIC
}

func newAlarm(p poller.Poller, kernel sys.Kernel) (alarm, error) {
	if !native(kernel) {
		return alarm{fd: -1}, nil
	}
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return alarm{}, os.NewSyscallError("timerfd_create", err)
	}
	if err := p.Add(fd, alarmToken, poller.Readable); err != nil {
		unix.Close(fd)
		return alarm{}, err
	}
	return alarm{fd, machineClock() - kernel.Nanotime()}, nil
}

// set has it ring at due, kernel time, and not before. It is edge-triggered: each time that it rings is a new event, though nobody reads it.
// It reports whether the poller need not be given a timeout.
func (a *alarm) set(due int64) bool {
	if a.fd < 0 {
		return false
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(due + a.zero)}
	_, _, errno := syscall.RawSyscall6(unix.SYS_TIMERFD_SETTIME, uintptr(a.fd), unix.TFD_TIMER_ABSTIME, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	return errno == 0
}

func (a *alarm) close() {
	if a.fd >= 0 {
		unix.Close(a.fd)
	}
}
