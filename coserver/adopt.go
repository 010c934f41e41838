package coserver

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/strand-net/strand/loop"
)

// Adopt makes a Listener, as the function Listen does, of one from elsewhere that has a descriptor: a *net.TCPListener or
// *net.UnixListener, of net.Listen or of an inherited descriptor. Nobody else may accept on it, and it is closed with the
// Listener.
func Adopt(ln net.Listener) (*Listener, error) {
	engine, err := leaseShared()
	if err != nil {
		return nil, err
	}
	defer engine.release()
	return engine.Adopt(ln)
}

// Adopt is the function Adopt with connections that run on e.
func (e *Engine) Adopt(ln net.Listener) (*Listener, error) {
	adopt, err := adoption(ln)
	if err != nil {
		return nil, err
	}
	return e.announce(adopt, ln.Addr().Network(), ln)
}

// adoption takes ln over, which must have a descriptor.
func adoption(ln net.Listener) (func(*Engine) (*loop.Listener, error), error) {
	original, ok := ln.(interface {
		net.Listener
		syscall.Conn
	})
	if !ok {
		return nil, fmt.Errorf("coserver: cannot take over a %T: it has no descriptor: %w", ln, errors.ErrUnsupported)
	}
	return func(e *Engine) (*loop.Listener, error) { return e.loops.Adopt(original) }, nil
}
