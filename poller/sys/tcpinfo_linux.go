package sys

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// TCPInfo counts bytes from Linux 4.19 on. To the kernel an end of the stream that has come is a byte received, for it has a number
// (RFC 9293, 3.4); it is left out, but when both ends have sent theirs, for then nothing tells it from a reset.
func (*host) TCPInfo(fd int) (TCPInfo, syscall.Errno) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return TCPInfo{}, errnoOf(err)
	}
	received := info.Bytes_received
	switch info.State {
	case unix.BPF_TCP_CLOSE_WAIT, unix.BPF_TCP_LAST_ACK, unix.BPF_TCP_CLOSING:
		received -= min(received, 1) // 0 where bytes are not counted
	}
	sent := info.Bytes_sent - info.Bytes_retrans + uint64(info.Notsent_bytes)
	unacked := sent - min(sent, info.Bytes_acked)
	return TCPInfo{
		Received: received, Sent: sent, Unacked: unacked, Retransmitted: info.Bytes_retrans,
		RTT: time.Duration(info.Rtt) * time.Microsecond, RTTVar: time.Duration(info.Rttvar) * time.Microsecond,
	}, 0
}
