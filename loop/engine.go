package loop

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/strand-net/strand/poller"
	"github.com/strand-net/strand/poller/sys"
)

// ErrEngineClosed is returned by an Engine's methods after Close.
var ErrEngineClosed = errors.New("loop: engine closed")

// Config says how an Engine is built. The zero value is ready to use.
type Config struct {
	// Loops is the number of reactors. 0 means one for each processor that Go may use (GOMAXPROCS).
	Loops int

	// Logger gets what nobody else can be told: a panic in a callback, an accept that fails for lack of descriptors.
	// nil means slog.Default().
	Logger *slog.Logger

	// OverNet runs the engine over package net (docs/platforms.md), as it runs anyway where the operating system offers nothing
	// better. It is slower, by far, and for finding out what there is to it.
	OverNet bool

	// Kernel and NewPoller replace the machine's own, for tests. nil means sys.Host and poller.New.
	Kernel    sys.Kernel
	NewPoller func(sys.Kernel) (poller.Poller, error)
}

// maxLoops is beyond any machine's cores: a larger number is a mistake.
const maxLoops = 4096

func (c *Config) validate() error {
	if c.Loops < 0 || c.Loops > maxLoops {
		return fmt.Errorf("loop: Config.Loops is %d, want 0 to %d", c.Loops, maxLoops)
	}
	if c.OverNet && c.Kernel != nil {
		return errors.New("loop: Config.OverNet and Config.Kernel are both set")
	}
	return nil
}

// Engine is a set of loops that share the work of all listeners and connections given to it. Its methods are
// safe from any goroutine.
type Engine struct {
	kernel sys.Kernel
	logger *slog.Logger
	loops  []*Loop
	began  int64 // on the kernel's clock
	pipes  pipes

	starved atomic.Int32 // listeners that rest for want of descriptors or memory
	roused  atomic.Int32 // loops that have been woken and have not noticed yet

	mu        sync.Mutex
	listeners map[*Listener]struct{}
	nextLoop  int // where the next listener goes
	closed    bool
}

// NewEngine starts the loops. Each holds two descriptors and one goroutine until Close.
func NewEngine(config Config) (*Engine, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	e := &Engine{kernel: config.Kernel, logger: config.Logger, listeners: make(map[*Listener]struct{})}
	if e.kernel == nil {
		e.kernel = sys.Host
		if config.OverNet {
			e.kernel = sys.Net
		}
	}
	if e.logger == nil {
		e.logger = slog.Default()
	}
	e.began = e.kernel.Nanotime()
	newPoller := config.NewPoller
	if newPoller == nil {
		newPoller = poller.New
	}
	count := config.Loops
	if count == 0 {
		count = runtime.GOMAXPROCS(0)
	}
	for i := range count {
		p, err := newPoller(e.kernel)
		if err != nil {
			for _, l := range e.loops {
				l.poller.Close()
			}
			return nil, fmt.Errorf("loop: new engine: %w", err)
		}
		e.loops = append(e.loops, newLoop(e, i, p))
	}
	for _, l := range e.loops {
		go l.run()
	}
	return e, nil
}

// Loops returns how many loops the engine has.
func (e *Engine) Loops() int { return len(e.loops) }

// Loop returns loop i, counted from 0.
func (e *Engine) Loop(i int) *Loop { return e.loops[i] }

func (e *Engine) isClosed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closed
}

// leastLoaded picks the loop that has the fewest sockets; favour wins a draw.
func (e *Engine) leastLoaded(favour *Loop) *Loop {
	best, fewest := favour, favour.sockets.Load()
	for _, l := range e.loops {
		if n := l.sockets.Load(); n < fewest {
			best, fewest = l, n
		}
	}
	return best
}

// Close closes every listener and every connection, waits until all callbacks have returned, and stops the loops.
// It must not be called on a loop's goroutine, which it would wait for. A second call waits too and
// returns ErrEngineClosed.
func (e *Engine) Close() error {
	e.mu.Lock()
	first := !e.closed
	e.closed = true
	listeners := make([]*Listener, 0, len(e.listeners))
	for l := range e.listeners {
		listeners = append(listeners, l)
	}
	e.mu.Unlock()
	for _, l := range listeners {
		l.Close()
	}
	for _, l := range e.loops {
		l.stop()
	}
	for _, l := range e.loops {
		<-l.done
	}
	e.pipes.close()
	if !first {
		return ErrEngineClosed
	}
	return nil
}
