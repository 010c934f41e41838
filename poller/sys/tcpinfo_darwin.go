package sys

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// TCPInfo does not count what was written: the system tells what has left, and what waits for acknowledgement or to leave. Its times
// are milliseconds (TCP_CONNECTION_INFO, <netinet/tcp.h>).
func (*host) TCPInfo(fd int) (TCPInfo, syscall.Errno) {
	info, err := unix.GetsockoptTCPConnectionInfo(fd, unix.IPPROTO_TCP, unix.TCP_CONNECTION_INFO)
	switch err {
	case nil:
	case unix.ENOPROTOOPT, unix.EINVAL, unix.ENOTSUP: // a socket of another kind
		return TCPInfo{}, syscall.EOPNOTSUPP
	default:
		return TCPInfo{}, errnoOf(err)
	}
	return TCPInfo{
		Received: info.Rxbytes, Unacked: uint64(info.Snd_sbbytes), Retransmitted: info.Txretransmitbytes,
		RTT: time.Duration(info.Srtt) * time.Millisecond, RTTVar: time.Duration(info.Rttvar) * time.Millisecond,
	}, 0
}
