//go:build !linux

package load

import "syscall"

// nativeBatch is for systems that send and take many datagrams in one call.
type nativeBatch struct{}

func (*nativeBatch) prepare(*packetBatch) {}

func (*nativeBatch) receive(*packetBatch, int) (int, syscall.Errno) { return 0, syscall.ENOSYS }

func (*nativeBatch) send(*packetBatch, int, int) (int, syscall.Errno) { return 0, syscall.ENOSYS }
