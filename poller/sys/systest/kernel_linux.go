package systest

import (
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/strand-net/strand/poller/sys"
)

// Options say how a Kernel behaves. The zero value is a kind one: nothing is interrupted, cut short or delayed.
type Options struct {
	// Seed decides what is left open.
	Seed uint64

	// SendBuffer and Window are how many bytes an end of a connection holds that it has to send and that it has received.
	// 0 means 64 KiB.
	SendBuffer, Window int

	// Delayed makes bytes and ends stay on their way until [Kernel.Deliver].
	Delayed bool

	// MaxDescriptors is how many descriptors may be open: beyond it there is EMFILE. 0 means no limit.
	MaxDescriptors int

	// Faults happen now and then.
	Faults Faults

	// Scheduler, if not nil, decides when calls go on.
	Scheduler *Scheduler

	// Trace, if not nil, is told of each call on a connection that has been made, with its result.
	Trace func(line string)
}

// Kernel is a kernel in memory. Its methods are safe from any goroutine.
type Kernel struct {
	options Options
	started time.Time

	mu         sync.Mutex
	faults     Faults
	most       int // descriptors; 0: any number
	table      []*file
	serial     uint64
	listeners  map[string][]*listener // by address: one, or several that share it
	nextPort   int
	nextPeer   int
	links      []*endpoint // both ends of each connection, while anything can still happen to it
	violations []string
}

var _ sys.Kernel = (*Kernel)(nil)

// New returns a kernel with nothing open.
func New(options Options) *Kernel {
	if options.SendBuffer == 0 {
		options.SendBuffer = 64 << 10
	}
	if options.Window == 0 {
		options.Window = 64 << 10
	}
	return &Kernel{options: options, faults: options.Faults, most: options.MaxDescriptors, started: time.Now(), listeners: make(map[string][]*listener),
		nextPort: 10_000, table: make([]*file, firstDescriptor)}
}

// Violations tells what was asked of the kernel that a correct program never asks.
func (k *Kernel) Violations() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]string(nil), k.violations...)
}

func (k *Kernel) violation(format string, args ...any) {
	k.violations = append(k.violations, fmt.Sprintf(format, args...))
}

// Nanotime is the time since New.
func (k *Kernel) Nanotime() int64 { return int64(time.Since(k.started)) }

// NanotimeAt is what Nanotime is at t.
func (k *Kernel) NanotimeAt(t time.Time) int64 { return int64(t.Sub(k.started)) }

// Control calls do with fd itself: nobody can do anything with it.
func (k *Kernel) Control(fd int, do func(fd uintptr)) syscall.Errno {
	do(uintptr(fd))
	return 0
}

// Direct says that there is no other way for bytes than this kernel.
func (k *Kernel) Direct() bool { return true }

// This kernel knows of no threads: time passes only while all of them wait.

func (k *Kernel) Thread() int                  { return 0 }
func (k *Kernel) ThreadTime(int) (int64, bool) { return 0, false }
func (k *Kernel) Runnable(int) bool            { return false }

// trace tells of a call that has been made.
func (k *Kernel) trace(call string, fd, n int, errno syscall.Errno) {
	if k.options.Trace == nil {
		return
	}
	if errno != 0 {
		k.options.Trace(fmt.Sprintf("%s(%d) = %v", call, fd, errno))
		return
	}
	k.options.Trace(fmt.Sprintf("%s(%d) = %d", call, fd, n))
}

// netAddr is the address of a listener: one of IP, or a name.
func netAddr(network, address string) (net.Addr, error) {
	if network == "unix" {
		return &net.UnixAddr{Name: address, Net: network}, nil
	}
	return net.ResolveTCPAddr(network, address)
}
