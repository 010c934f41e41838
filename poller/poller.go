// Package poller tells which file descriptors are ready, and nothing else: it reads and writes no data, keeps no
// connections, no queues and no timers. One [Poller] serves one reactor.
//
// # Edge-triggered
//
// A Poller reports changes, not states. After an event says that a descriptor is readable, the owner must remember
// that until a read has drained it; no second event comes for the same bytes. An event may be spurious: the call
// that follows it can still answer EAGAIN. Both directions are registered once, at Add, so that nothing on the hot
// path has to touch the registration again.
//
// # Identity
//
// An event carries the [Token] that its descriptor was added with, never the descriptor. A number that the kernel hands
// out again is added with a new token, so whoever keeps a generation in the token can tell a late event of the old
// owner from one of the new.
package poller

import (
	"errors"
	"time"

	"github.com/strand-net/strand/poller/sys"
)

// ErrClosed is returned by every method of a Poller after Close, and by a Wait that Close interrupts.
var ErrClosed = errors.New("poller: closed")

// Token is what the caller calls a descriptor: for instance a slot number and its generation. All values but
// [Reserved] may be used.
type Token uint64

// Reserved is the one token that a caller must not use: it marks the backend's own wake-up.
const Reserved = ^Token(0)

// Readiness is a set of conditions of a descriptor.
type Readiness uint8

const (
	// Readable: a read (or accept) will not block: there is data, an end of file, an error, or a new connection.
	Readable Readiness = 1 << iota
	// Writable: a write will not block, or will fail at once.
	Writable
	// ReadClosed: the peer has shut down its sending side; data that came before may still be unread. It comes with
	// an interest in Readable only.
	ReadClosed
	// Closed: the descriptor is closed in both directions (hang-up) or has failed; reads and writes say how.
	Closed
	// Urgent: out-of-band data has arrived. A read stops short at its mark, so from now on a short read no longer
	// means that the socket is drained (tcp(7), SO_OOBINLINE and SIOCATMARK). It comes with an interest in Readable
	// only. A backend that cannot tell says so of every descriptor, with the first event that says Readable.
	Urgent
)

// Interest is what a caller wants to hear of: Readable (and with it ReadClosed and Urgent), Writable, or both.
// Closed is always reported.
type Interest = Readiness

// Event is one change of one descriptor.
type Event struct {
	Token     Token
	Readiness Readiness
}

// New returns a Poller for the descriptors of kernel: on what the operating system has for it, epoll(7) on Linux, kqueue(2) on macOS and
// the BSDs, through kernel's calls; or, for those of [sys.Net], on package net. Where the operating system has nothing, sys.Host is
// sys.Net, and for a kernel of another kind New fails with errors.ErrUnsupported.
func New(kernel sys.Kernel) (Poller, error) {
	if !kernel.Direct() {
		return newNet(), nil
	}
	return Backend(kernel)
}

// Backend is what New calls for a kernel of system calls. As with [sys.Host], nothing but package kerneltest replaces it, before any
// other goroutine runs: so the tests of this machine can be run on what another one has.
var Backend = open

// Poller is the readiness interface of one reactor: an epoll instance, a kqueue, or a substitute for tests.
//
// Wait may be called by one goroutine at a time. All other methods are safe from any goroutine, at any time.
// Errors are *os.SyscallError naming the system call, or [ErrClosed].
type Poller interface {
	// Add registers fd, edge-triggered. Conditions that hold already are reported by the next Wait.
	// It fails with EEXIST if fd is registered.
	Add(fd int, token Token, interest Interest) error

	// Modify changes token and interest of a registered fd, and reports anew what holds. It fails with ENOENT if fd is
	// not registered, as Remove does. An interest of 0 keeps fd registered but silent, except for Closed.
	Modify(fd int, token Token, interest Interest) error

	// Remove ends the registration of fd. It must come before fd is closed: a duplicate of the descriptor elsewhere
	// (a forked child, File, SyscallConn) would otherwise keep its events coming (epoll(7), question 6).
	// An event that a Wait has already returned is still in the caller's slice: compare tokens.
	Remove(fd int) error

	// Wait fills events with what has changed and returns how many there are. It returns at once if there is
	// something to report; otherwise it waits until there is, until Wake, or until the timeout is over, and may then
	// return 0. A negative timeout waits for ever, 0 does not wait, and any other is rounded up to the unit of the
	// kernel, so that Wait never returns early because of the time alone. EINTR is not visible. It fails with EINVAL
	// if events is empty.
	Wait(events []Event, timeout time.Duration) (int, error)

	// Wake makes the Wait that is running return, or the next one if none is. Calls coalesce: any number of
	// them before that Wait returns are one.
	Wake() error

	// Close ends the Poller: a Wait in progress returns ErrClosed. Registered descriptors stay open. A second Close
	// returns ErrClosed.
	Close() error
}
