package sys

// The constants of kqueue(2), for a kernel for tests: those of macOS.
const (
	EVFILT_READ   = -1
	EVFILT_WRITE  = -2
	EVFILT_USER   = -10
	EVFILT_EXCEPT = -15

	EV_ADD    = 0x1
	EV_DELETE = 0x2
	EV_CLEAR  = 0x20
	EV_ERROR  = 0x4000
	EV_EOF    = 0x8000

	NOTE_OOB     = 0x2
	NOTE_TRIGGER = 0x1000000
)
