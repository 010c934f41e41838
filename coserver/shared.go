package coserver

import "sync"

// shared is the engine of the functions Listen and Dial when nobody names one: there is one for all of them, and it lives as
// long as any listener or connection on it.
var shared struct {
	mu     sync.Mutex
	engine *Engine
}

// leaseShared returns the shared engine, started if need be. It runs until release has been called as often as lease.
func leaseShared() (*Engine, error) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.engine == nil {
		engine, err := NewEngine(EngineConfig{})
		if err != nil {
			return nil, err
		}
		engine.shared = true
		shared.engine = engine
	}
	shared.engine.leases++
	return shared.engine, nil
}

// lease is for one more listener or connection on e, by a caller that has a lease. On an engine that is not the shared one it
// does nothing.
func (e *Engine) lease() {
	if !e.shared {
		return
	}
	shared.mu.Lock()
	defer shared.mu.Unlock()
	e.leases++
}

// release ends one lease. The last closes the engine: in the background, for the caller may be on one of its loops.
func (e *Engine) release() {
	if !e.shared {
		return
	}
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if e.leases--; e.leases > 0 {
		return
	}
	if shared.engine == e {
		shared.engine = nil
	}
	go e.Close()
}
