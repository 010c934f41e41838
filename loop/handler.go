package loop

import (
	"fmt"
	"log/slog"
)

// Handler is told what happens to the connections of a [Service]. For one connection OnOpen comes first, then OnData any number
// of times, then OnClose, each on the goroutine of the connection's loop and never two at a time. All callbacks of
// a loop wait for each other: one that blocks, blocks them all. A callback that panics ends its connection only.
type Handler interface {
	// OnOpen is called once, before anything is read.
	OnOpen(c *Conn)

	// OnData is called with what has arrived. data belongs to the loop and must not be kept or changed after the return.
	OnData(c *Conn, data []byte)

	// OnClose is called once, when the connection has ended: err is nil if this side closed it, io.EOF if the
	// peer did, and the error if it failed.
	OnClose(c *Conn, err error)
}

// EOFHandler is a [Handler] that also wants to know when the peer has sent its last byte. The connection then stays open
// for writing until it is closed. For a Handler without OnEOF it is closed as soon as the queued output is sent.
type EOFHandler interface {
	OnEOF(c *Conn)
}

// PressureHandler is a [Handler] that also wants to know how full the queued output is: high when it grows above
// Service.HighWater, and not high when it has then fallen to Service.LowWater.
type PressureHandler interface {
	OnPressure(c *Conn, high bool)
}

// Service says how the connections of a listener are served by callbacks.
type Service struct {
	// Handler is required.
	Handler Handler

	// MaxQueued bounds the output, in bytes, that waits in memory because the peer does not read. A Write that would
	// exceed it is refused with ErrQueueFull. 0 means 1 MiB.
	MaxQueued int

	// HighWater and LowWater are the marks for PressureHandler, in bytes. 0 means a quarter and a sixteenth of MaxQueued.
	HighWater, LowWater int
}

const defaultMaxQueued = 1 << 20

func (s *Service) validate() error {
	if s.Handler == nil {
		return fmt.Errorf("loop: Service.Handler is nil")
	}
	if s.MaxQueued < 0 {
		return fmt.Errorf("loop: Service.MaxQueued is %d, want 0 or more", s.MaxQueued)
	}
	if s.MaxQueued == 0 {
		s.MaxQueued = defaultMaxQueued
	}
	if s.HighWater == 0 {
		s.HighWater = s.MaxQueued / 4
	}
	if s.LowWater == 0 {
		s.LowWater = s.MaxQueued / 16
	}
	if s.HighWater < 0 || s.HighWater > s.MaxQueued {
		return fmt.Errorf("loop: Service.HighWater is %d, want 1 to MaxQueued (%d)", s.HighWater, s.MaxQueued)
	}
	if s.LowWater < 0 || s.LowWater > s.HighWater {
		return fmt.Errorf("loop: Service.LowWater is %d, want 1 to HighWater (%d)", s.LowWater, s.HighWater)
	}
	return nil
}

// Start listens on an address and serves its connections by callbacks, until the returned Listener or the engine is
// closed. Errors are those of [Engine.Listen], or name the field of service that is wrong.
func (e *Engine) Start(network, address string, service Service) (*Listener, error) {
	if err := service.validate(); err != nil {
		return nil, err
	}
	ln, err := e.Listen(network, address)
	if err != nil {
		return nil, err
	}
	if err := ln.Start(service); err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

// Start serves the connections of ln by callbacks, until ln or its engine is closed. Errors are those of [Listener.Serve], or
// name the field of service that is wrong.
func (ln *Listener) Start(service Service) error {
	if err := service.validate(); err != nil {
		return err
	}
	return ln.Serve(func(l *Loop, accepted Accepted) {
		c := &Conn{service: &service, local: ln}
		if err := l.Attach(&c.socket, accepted, c); err != nil {
			ln.loop.engine.logger.Error("connection cannot be watched", slog.String("addr", ln.addr.String()),
				slog.String("remote", accepted.peer.String()), slog.Any("error", err))
			return
		}
		c.opened()
	}, nil)
}
