//go:build dragonfly || ((freebsd || netbsd || openbsd) && !386 && !arm)

package sys

import "syscall"

// TCPInfo is not there: what TCP_INFO tells on FreeBSD and OpenBSD does not count bytes.
func (*host) TCPInfo(int) (TCPInfo, syscall.Errno) { return TCPInfo{}, syscall.EOPNOTSUPP }
