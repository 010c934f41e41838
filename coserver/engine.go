package coserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/ants/v2"

	"github.com/strand-net/strand/loop"
)

// ErrTooManyGoroutines is reported for a connection that is closed because EngineConfig.MaxGoroutines are busy.
var ErrTooManyGoroutines = errors.New("coserver: too many goroutines")

// EngineConfig says how an Engine is built. The zero value is ready to use.
type EngineConfig struct {
	// Loops is the number of reactors. 0 means one for each processor that Go may use (GOMAXPROCS).
	Loops int

	// MaxGoroutines bounds the goroutines for handlers that no loop carries. 0 means 262,144.
	MaxGoroutines int

	// TakeOverAfter is how long a handler may keep its loop from everything else, by computing or by waiting for what is not a
	// connection. Then, at the latest when twice as much has passed, or nine times if the loops were idle for nearly all of the time, the loop goes on
	// without it, on another goroutine. 0 means 1 ms, a negative value for ever.
	TakeOverAfter time.Duration

	// LagInterval is how often it is measured how late the loops are (see LagStats), which wakes each of them. 0 means never, or if
	// OnLoopLag is set, every 100 ms.
	LagInterval time.Duration

	// OnLoopLag is told of each measurement: the index of the loop, and how late it was. It is called on a goroutine of its own, one
	// call at a time. While it blocks, nothing is measured, and Close waits.
	OnLoopLag func(loop int, lag time.Duration)

	// OverNet runs the engine over package net (docs/platforms.md), as it runs anyway where the operating system offers nothing
	// better. It is slower, by far, and for finding out what there is to it.
	OverNet bool

	// Logger gets what nobody else can be told. nil means slog.Default().
	Logger *slog.Logger
}

const defaultMaxGoroutines = 256 << 10

func (c *EngineConfig) validate() error {
	if c.MaxGoroutines < 0 {
		return fmt.Errorf("coserver: EngineConfig.MaxGoroutines is %d, want 0 or more", c.MaxGoroutines)
	}
	if c.LagInterval < 0 {
		return fmt.Errorf("coserver: EngineConfig.LagInterval is %v, want 0 or more", c.LagInterval)
	}
	return nil
}

// Engine is a set of reactors that any number of Servers share, and may join and leave while it runs. Its methods are
// safe from any goroutine.
type Engine struct {
	loops    *loop.Engine
	reactors []reactor
	dialled  run // the life of the connections that were dialled on this engine

	maxGoroutines int
	shared        bool // it is, or was, the one of shared
	leases        int  // protected by shared.mu

	monitor   monitor
	lane      lane
	lag       lagWatch
	takeOvers atomic.Uint64
	away      atomic.Int64  // handlers that have been taken over and are not back
	awayFor   atomic.Int64  // nanoseconds, of those that are
	apart     atomic.Uint64 // how many times a server's handlers began to be

	mu        sync.Mutex
	listeners map[*Listener]struct{} // those of Listen
	pool      *ants.Pool             // made when it is first needed: it has goroutines of its own
	closed    bool                   // there is none any more
}

// NewEngine starts the reactors. They run until Close.
func NewEngine(config EngineConfig) (*Engine, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	return newEngine(config, loop.Config{Loops: config.Loops, OverNet: config.OverNet, Logger: config.Logger})
}

func newEngine(config EngineConfig, loopConfig loop.Config) (*Engine, error) {
	loops, err := loop.NewEngine(loopConfig)
	if err != nil {
		return nil, err
	}
	e := &Engine{loops: loops, reactors: make([]reactor, loops.Loops()), listeners: make(map[*Listener]struct{}), maxGoroutines: config.MaxGoroutines}
	if e.maxGoroutines == 0 {
		e.maxGoroutines = defaultMaxGoroutines
	}
	for i := range e.reactors {
		e.reactors[i].engine, e.reactors[i].loop = e, loops.Loop(i)
		e.reactors[i].sender = &sender{loop: loops.Loop(i)}
	}
	e.dialled.server, e.dialled.engine = new(Server), e
	e.dialled.setQueues()
	engines.add(e)
	e.monitor.start(e, config.TakeOverAfter)
	e.lag.start(e, config.LagInterval, config.OnLoopLag)
	return e, nil
}

// engines are all that run, so that a call can tell which task it is in.
var engines registry

type registry struct {
	mu  sync.Mutex
	all atomic.Pointer[[]*Engine]
}

func (r *registry) add(e *Engine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := append(slices.Clone(r.list()), e)
	r.all.Store(&all)
}

func (r *registry) remove(e *Engine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(r.list()), func(other *Engine) bool { return other == e })
	r.all.Store(&all)
}

func (r *registry) list() []*Engine {
	if all := r.all.Load(); all != nil {
		return *all
	}
	return nil
}

// spawn runs do on a goroutine from the pool. It fails with ErrTooManyGoroutines, or when the pool is gone: who has been taken over may
// have something to do still when the engine is closed.
func (e *Engine) spawn(do func()) error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return loop.ErrEngineClosed
	}
	if e.pool == nil {
		pool, err := newPool(e.maxGoroutines)
		if err != nil {
			e.mu.Unlock()
			return err
		}
		e.pool = pool
	}
	pool := e.pool
	e.mu.Unlock()
	if err := pool.Submit(do); errors.Is(err, ants.ErrPoolOverload) {
		return ErrTooManyGoroutines
	} else if err != nil {
		return err
	}
	return nil
}

// newPool makes a pool, on a goroutine of its own: those that the pool starts would have the labels of the handler that first needs
// it, and for ever.
func newPool(size int) (pool *ants.Pool, err error) {
	made := make(chan struct{})
	go func() {
		defer close(made)
		pprof.SetGoroutineLabels(context.Background())
		pool, err = ants.NewPool(size, ants.WithNonblocking(true))
	}()
	<-made
	return pool, err
}

// poolPatience is how long Close waits for the pool's goroutines to notice that it is over; they have nothing to do by then.
const poolPatience = 5 * time.Second

// Close closes all connections, waits for their handlers, and stops the reactors. It must not be called from a
// handler, which it would wait for. A second call waits too and returns loop.ErrEngineClosed.
func (e *Engine) Close() error {
	e.mu.Lock()
	listeners := slices.Collect(maps.Keys(e.listeners))
	e.mu.Unlock()
	for _, ln := range listeners {
		ln.Close()
	}
	e.lag.end()
	err := e.loops.Close()
	engines.remove(e)
	e.monitor.end()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	if e.pool != nil {
		if releaseErr := e.pool.ReleaseTimeout(poolPatience); err == nil {
			err = releaseErr
		}
		e.pool = nil
	}
	return err
}
