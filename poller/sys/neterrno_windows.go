package sys

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// winsock names the errors of Windows Sockets as package syscall has them for programs from elsewhere.
var winsock = map[syscall.Errno]syscall.Errno{
	windows.WSAEACCES:                syscall.EACCES,
	windows.WSAEADDRINUSE:            syscall.EADDRINUSE,
	windows.WSAEADDRNOTAVAIL:         syscall.EADDRNOTAVAIL,
	windows.WSAEAFNOSUPPORT:          syscall.EAFNOSUPPORT,
	windows.WSAECONNABORTED:          syscall.ECONNABORTED,
	windows.WSAECONNREFUSED:          syscall.ECONNREFUSED,
	windows.WSAECONNRESET:            syscall.ECONNRESET,
	windows.WSAEHOSTUNREACH:          syscall.EHOSTUNREACH,
	windows.WSAEINVAL:                syscall.EINVAL,
	windows.WSAEMFILE:                syscall.EMFILE,
	windows.WSAENETDOWN:              syscall.ENETDOWN,
	windows.WSAENETRESET:             syscall.ENETRESET,
	windows.WSAENETUNREACH:           syscall.ENETUNREACH,
	windows.WSAENOBUFS:               syscall.ENOBUFS,
	windows.WSAENOTCONN:              syscall.ENOTCONN,
	windows.WSAENOTSOCK:              syscall.ENOTSOCK,
	windows.WSAEOPNOTSUPP:            syscall.EOPNOTSUPP,
	windows.WSAESHUTDOWN:             syscall.EPIPE,
	windows.WSAETIMEDOUT:             syscall.ETIMEDOUT,
	windows.ERROR_NETNAME_DELETED:    syscall.ECONNRESET, // how an overlapped read learns of a reset
	windows.ERROR_CONNECTION_REFUSED: syscall.ECONNREFUSED,
	windows.ERROR_CONNECTION_ABORTED: syscall.ECONNABORTED,
}

func portableErrno(errno syscall.Errno) syscall.Errno {
	if portable, ok := winsock[errno]; ok {
		return portable
	}
	return errno
}
