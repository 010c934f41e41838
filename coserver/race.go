package coserver

import (
	"context"
	"net"
	"sync"
	"time"
)

// defaultFallbackDelay is what RFC 8305 recommends as a safe choice and package net uses.
const defaultFallbackDelay = 300 * time.Millisecond

// race tries the primaries, and beside them the fallbacks when the primaries have failed or take too long. The first connection
// wins. If there is none, it fails with the error of the primaries.
func (a *dialing) race(ctx context.Context, primaries, fallbacks []net.Addr) (*Conn, error) {
	primaryCtx, cancelPrimary := context.WithCancel(ctx)
	defer cancelPrimary()
	fallbackCtx, cancelFallback := context.WithCancel(ctx)
	defer cancelFallback()

	f := &fallback{ended: new(notice)}
	begin := sync.OnceFunc(func() {
		beside(a.task, func() {
			c, _ := (&dialing{Dialer: a.Dialer, network: a.network, engine: a.engine, task: currentTask()}).each(fallbackCtx, fallbacks)
			if f.end(c) {
				cancelPrimary()
			}
		})
	})
	delay := a.FallbackDelay
	if delay == 0 {
		delay = defaultFallbackDelay
	}
	timer := time.AfterFunc(delay, begin)
	defer timer.Stop()

	c, err := a.each(primaryCtx, primaries)
	if err == nil {
		f.lose()
		return c, nil
	}
	begin()
	f.ended.wait()
	if f.conn != nil {
		return f.conn, nil
	}
	return nil, err
}

// fallback is how the second runner of a race fares.
type fallback struct {
	ended *notice

	mu   sync.Mutex
	lost bool
	conn *Conn
}

// end takes the fallback's result. It reports whether that is a connection that may win.
func (f *fallback) end(c *Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lost && c != nil {
		c.shut(context.Canceled)
		c = nil
	}
	f.conn = c
	f.ended.give()
	return c != nil
}

// lose says that the primary has won.
func (f *fallback) lose() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lost = true
	if f.conn != nil {
		f.conn.shut(context.Canceled)
	}
}
