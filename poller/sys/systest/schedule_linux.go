package systest

import (
	"cmp"
	"slices"
	"sync"
)

// Scheduler decides when calls go on: each call that it holds waits until Grant. Between two Grants one goroutine
// runs, so a run is what the grants make it. A nil Scheduler holds nothing.
//
// A call that is made with a mutex held must not be held too, if another goroutine may want that mutex: a goroutine
// that waits for a mutex is not at rest, and synctest.Wait waits for it.
type Scheduler struct {
	names []string

	mu      sync.Mutex
	waiting []*Call
	open    bool
}

// Call is a call that waits to go on.
type Call struct {
	Name  string
	FD    int
	ready func() bool
	grant chan struct{}
}

// Returns, behind the name of a transfer, is the moment when it has been made and the caller does not know of it yet.
const Returns = " returns"

// NewScheduler holds the calls with the given names: those of the system calls ("recv", "send", "sendv", "close", "shutdown",
// "accept", "epoll_ctl"), "park", and any that are made with [Scheduler.Enter].
func NewScheduler(names ...string) *Scheduler { return &Scheduler{names: names} }

func (s *Scheduler) holds(name string) bool {
	if s == nil || !slices.Contains(s.names, name) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.open || name == "park"
}

// Enter waits until the call may go on.
func (s *Scheduler) Enter(name string, fd int) { s.enterWhen(name, fd, nil) }

func (s *Scheduler) enterWhen(name string, fd int, ready func() bool) {
	if !s.holds(name) {
		return
	}
	c := &Call{Name: name, FD: fd, ready: ready, grant: make(chan struct{})}
	s.mu.Lock()
	s.waiting = append(s.waiting, c)
	s.mu.Unlock()
	<-c.grant
}

// Ready returns the calls that can go on, always in the same order.
func (s *Scheduler) Ready() []*Call {
	s.mu.Lock()
	waiting := slices.Clone(s.waiting)
	s.mu.Unlock()
	waiting = slices.DeleteFunc(waiting, func(c *Call) bool { return c.ready != nil && !c.ready() })
	slices.SortStableFunc(waiting, func(a, b *Call) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.FD, b.FD))
	})
	return waiting
}

// Grant lets a call go on.
func (s *Scheduler) Grant(c *Call) {
	s.mu.Lock()
	s.waiting = slices.DeleteFunc(s.waiting, func(other *Call) bool { return other == c })
	s.mu.Unlock()
	close(c.grant)
}

// enter is where every call that can be held begins. Only connections are: what listens is used with a lock held.
func (k *Kernel) enter(name string, fd int) {
	if s := k.options.Scheduler; s.holds(name) && (name == "accept" || name == "epoll_ctl" || k.isConnection(fd)) {
		s.Enter(name, fd)
	}
}

func (k *Kernel) enterWhen(name string, fd int, ready func() bool) {
	if s := k.options.Scheduler; s != nil {
		s.enterWhen(name, fd, ready)
	}
}

func (k *Kernel) isConnection(fd int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if fd < 0 || fd >= len(k.table) || k.table[fd] == nil {
		return false
	}
	_, ok := k.table[fd].what.(*endpoint)
	return ok
}
