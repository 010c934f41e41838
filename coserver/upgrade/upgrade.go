package upgrade

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

var (
	// ErrReplaced is why Exit is closed when another process has taken over the sockets: this one has time to finish.
	ErrReplaced = errors.New("upgrade: another process has taken over")
	// ErrOrphaned is why Exit is closed in a worker whose Supervisor is gone.
	ErrOrphaned = errors.New("upgrade: the supervisor is gone")
	// ErrStopped is why Exit is closed after Stop.
	ErrStopped = errors.New("upgrade: stopped")
	// ErrNotReady is returned by Upgrade before Ready.
	ErrNotReady = errors.New("upgrade: not ready yet")
	// ErrInProgress is returned when another Upgrade or Reload is under way.
	ErrInProgress = errors.New("upgrade: another upgrade is under way")
)

const defaultReadyLimit = time.Minute

// Options says what an Upgrader starts. The zero value starts the same program with the same arguments.
type Options struct {
	// Path is the program. Empty means os.Executable: the path that this process was started from, with symbolic links
	// resolved, where a new program has been put meanwhile. A relative one is relative to the working directory.
	Path string

	// Args are the arguments, the program's name first. nil means os.Args.
	Args []string

	// Env is the environment. nil means os.Environ. The variables of the protocol are added, and any others of them removed.
	Env []string

	// ReadyLimit is how long a new process may take until it is ready. 0 means a minute.
	ReadyLimit time.Duration
}

func (o *Options) fill() error {
	if o.ReadyLimit < 0 {
		return fmt.Errorf("upgrade: Options.ReadyLimit is %v, want 0 or more", o.ReadyLimit)
	}
	if o.ReadyLimit == 0 {
		o.ReadyLimit = defaultReadyLimit
	}
	if o.Args == nil {
		o.Args = os.Args
	}
	if len(o.Args) == 0 {
		return errors.New("upgrade: Options.Args is empty, want the program's name at least")
	}
	if o.Path == "" {
		path, err := os.Executable()
		if err != nil {
			return fmt.Errorf("upgrade: Options.Path: %w", err)
		}
		o.Path = path
	}
	return nil
}

// Upgrader has the sockets that outlive the process. Its methods are safe from any goroutine.
type Upgrader struct {
	options Options
	parent  *parent // nil if no process of this package has started this one
	role    role

	readyOnce sync.Once
	readyErr  error

	mu        sync.Mutex
	inherited []inherited
	sockets   []*socket
	ready     bool
	abort     context.CancelCauseFunc // gives up the upgrade that is under way; nil if there is none
	offered   []*socket               // what the process that is being started has
	settled   chan struct{}           // closed when that upgrade has come to its end
	successor int                     // the process that has taken over, or 0
	err       error                   // why exit is closed
	exit      chan struct{}
}

// New takes what was passed to this process by the variables of the protocol and unsets them; so the first New of a process
// has it, and a second finds nothing. Variables that are meant for another process are unset and otherwise ignored. What neither
// listens nor takes packets stays open for whoever knows its number, but no child gets it. New fails if the
// variables contradict themselves, if options do, or with ErrOrphaned in a worker whose Supervisor is gone.
func New(options Options) (*Upgrader, error) {
	if err := options.fill(); err != nil {
		return nil, err
	}
	u := &Upgrader{options: options, exit: make(chan struct{})}
	if err := u.inherit(); err != nil {
		return nil, err
	}
	return u, nil
}

func (u *Upgrader) inherit() error {
	o, err := readOffer(os.Getenv, os.Getpid())
	forget()
	if err != nil || !supported {
		return err
	}
	if o.role != alone {
		if u.parent, err = findParent(firstFD+o.count, o.role); err != nil {
			return err
		}
		if u.parent == nil {
			if !o.direct {
				return nil
			}
			o.role = alone
		}
	}
	u.role = o.role
	if u.role == successor {
		takeWatchdog(os.Getppid(), os.Getpid())
	}
	if u.inherited, err = openInherited(firstFD, o.count); err == nil {
		err = u.label(o.names)
	}
	if err != nil {
		closeInherited(u.inherited)
		if u.parent != nil {
			u.parent.close()
		}
		return err
	}
	if u.parent != nil {
		go u.parent.listen(u)
	}
	return nil
}

// label gives the inherited sockets their names.
func (u *Upgrader) label(names []string) error {
	for i, name := range names {
		if u.role == alone {
			u.inherited[i].label = label{name: name}
			continue
		}
		l, err := parseLabel(name)
		if err != nil {
			return err
		}
		u.inherited[i].label = l
	}
	return nil
}

// IsWorker reports whether a Supervisor has started this process.
func (u *Upgrader) IsWorker() bool { return u.role == worker }

// IsSuccessor reports whether an Upgrade has started this process.
func (u *Upgrader) IsSuccessor() bool { return u.role == successor }

// Ready says that this process can serve: it is for the end of the preparations, when all sockets are claimed and all that may
// fail has not. It closes what was inherited and is not claimed. A process that an Upgrade or a Supervisor has started tells
// its parent, and waits until that has taken note: connections that are accepted from then on are safe from its giving up on
// this process. Otherwise it tells the service manager, if there is one (READY=1 of sd_notify(3)).
//
// In a worker it may fail with ErrOrphaned, and then Exit is closed. A further call returns what the first did.
func (u *Upgrader) Ready() error {
	u.readyOnce.Do(func() { u.readyErr = u.becomeReady() })
	return u.readyErr
}

func (u *Upgrader) becomeReady() error {
	u.mu.Lock()
	unclaimed := u.inherited
	u.inherited = nil
	u.mu.Unlock()
	closeInherited(unclaimed)
	if u.parent != nil && !u.parent.ready() && u.role == worker {
		u.end(ErrOrphaned)
		return ErrOrphaned
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err != nil {
		return u.err
	}
	u.ready = true
	removeUnclaimed(unclaimed) // the files are this process's now, and nobody will listen there
	switch u.role {
	case alone:
		notify("READY=1")
	case successor: // the parent has said so too, but it may have ended before
		notify(fmt.Sprintf("READY=1\nMAINPID=%d", os.Getpid()))
	}
	return nil
}

// Exit returns a channel that is closed when the process is to come to its end; Err then says why.
func (u *Upgrader) Exit() <-chan struct{} { return u.exit }

// Err returns nil until Exit is closed, and then ErrReplaced, ErrOrphaned or ErrStopped.
func (u *Upgrader) Err() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

// Successor returns the id of the process that an Upgrade has handed over to, and 0 if there is none.
func (u *Upgrader) Successor() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.successor
}

// Stop is for a process that ends of its own accord: it closes Exit, closes what was inherited and is not claimed, gives up an
// Upgrade that is under way, and tells the service manager (STOPPING=1). It does not close the sockets that are in use. When it
// returns no new process is left, unless one has taken over before. To call it again does nothing more.
func (u *Upgrader) Stop() {
	first := u.end(ErrStopped) // from now on none begins, and none that has begun hands over
	u.mu.Lock()
	abort, settled := u.abort, u.settled
	u.mu.Unlock()
	if abort != nil {
		abort(ErrStopped)
		<-settled
	}
	if first && u.role != worker {
		notify("STOPPING=1")
	}
}

// end closes Exit, and reports whether it was the first to do so.
func (u *Upgrader) end(reason error) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err != nil {
		return false
	}
	u.finish(reason)
	return true
}

// finish is end with u.mu held, for the first time.
func (u *Upgrader) finish(reason error) {
	u.err = reason
	close(u.exit)
	closeInherited(u.inherited)
	u.inherited = nil
	if u.parent != nil {
		u.parent.close()
	}
}

// Upgrade starts a new process that gets the sockets and waits until it is ready. Then it closes Exit, and this process is to
// finish what it has begun and to end. Until then nothing changes here: if the new process cannot be started, ends, takes
// longer than Options.ReadyLimit, or ctx is done before, it is killed and awaited, and the error says what happened; this
// process goes on serving. Standard input, output and error of the new process are those of this one.
//
// It fails with ErrInProgress while another one is under way, with ErrNotReady before Ready, with the error of Err once Exit is
// closed, and with errors.ErrUnsupported in a worker, which its Supervisor replaces, or where the system has no such thing.
func (u *Upgrader) Upgrade(ctx context.Context) error {
	ctx, err := u.begin(ctx)
	if err != nil {
		return err
	}
	notify(reloading())
	c, err := u.start(ctx, successor)
	if err == nil {
		err = u.handOver(ctx, c)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if err != nil {
		for _, s := range u.offered { // what was closed meanwhile stays closed
			if s.closed {
				s.removeFile()
			}
		}
		if u.err == nil {
			notify("READY=1")
		}
	}
	u.abort(nil)
	close(u.settled)
	u.offered, u.abort, u.settled = nil, nil, nil
	return err
}

// begin lets one Upgrade in.
func (u *Upgrader) begin(ctx context.Context) (context.Context, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case !supported:
		return nil, fmt.Errorf("upgrade: %w", errors.ErrUnsupported)
	case u.role == worker:
		return nil, fmt.Errorf("upgrade: a worker is replaced by its supervisor: %w", errors.ErrUnsupported)
	case u.err != nil:
		return nil, u.err
	case !u.ready:
		return nil, ErrNotReady
	case u.abort != nil:
		return nil, ErrInProgress
	}
	ctx, u.abort = context.WithCancelCause(ctx)
	u.settled = make(chan struct{})
	return ctx, nil
}

// isOffered reports whether a process that is being started has s. u.mu must be held.
func (u *Upgrader) isOffered(s *socket) bool { return slices.Contains(u.offered, s) }

// handOver lets c go on, which is ready, and closes Exit. It is the moment in which the files of the sockets change hands.
func (u *Upgrader) handOver(ctx context.Context, c *child) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := cmp.Or(u.err, context.Cause(ctx)); err != nil {
		c.kill()
		return givenUp(err)
	}
	if err := c.goOn(); err != nil {
		return err
	}
	for _, s := range u.offered {
		s.file = ""
	}
	notify(fmt.Sprintf("MAINPID=%d\nREADY=1", c.pid()))
	c.release()
	u.successor = c.pid()
	u.finish(ErrReplaced)
	return nil
}
