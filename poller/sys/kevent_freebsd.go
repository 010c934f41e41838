//go:build !386 && !arm

package sys

// Kevent is struct kevent (kevent(2)), with an Udata that the garbage collector does not take for a pointer.
type Kevent struct {
	Ident  uint64
	Filter int16
	Flags  uint16
	Fflags uint32
	Data   int64
	Udata  uint64
	_      [4]uint64
}
