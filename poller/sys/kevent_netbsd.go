//go:build !386 && !arm

package sys

// Kevent is struct kevent (kevent(2)).
type Kevent struct {
	Ident  uint64
	Filter uint32
	Flags  uint32
	Fflags uint32
	_      uint32
	Data   int64
	Udata  uint64
}
