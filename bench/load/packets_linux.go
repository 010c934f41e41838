package load

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// nativeBatch is what the kernel wants to know of many datagrams of a connected socket (sendmmsg(2), recvmmsg(2)). The calls are raw: they do not wait.
type nativeBatch struct {
	messages []packetHeader
	vectors  []unix.Iovec
}

type packetHeader struct {
	header unix.Msghdr
	length uint32
}

func (n *nativeBatch) prepare(b *packetBatch) {
	n.messages, n.vectors = make([]packetHeader, b.size()), make([]unix.Iovec, b.size())
	for i := range n.messages {
		n.vectors[i].Base = unsafe.SliceData(b.rooms[i])
		n.messages[i].header.Iov = &n.vectors[i]
		n.messages[i].header.SetIovlen(1)
	}
}

func (n *nativeBatch) receive(b *packetBatch, fd int) (int, syscall.Errno) {
	for i := range n.vectors {
		n.vectors[i].SetLen(len(b.rooms[i]))
	}
	got, _, errno := syscall.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(n.messages))), uintptr(len(n.messages)),
		unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	for i := range int(got) {
		b.sizes[i] = int(n.messages[i].length)
	}
	return int(got), 0
}

func (n *nativeBatch) send(b *packetBatch, fd, count int) (int, syscall.Errno) {
	for i := range count {
		n.vectors[i].SetLen(b.sizes[i])
	}
	sent, _, errno := syscall.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(n.messages))), uintptr(count),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(sent), 0
}
