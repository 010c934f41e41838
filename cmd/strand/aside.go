package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/strand-net/strand/bench/control"
	"github.com/strand-net/strand/coserver/upgrade"
)

// asidePatience is how long a client may take to send its request.
const asidePatience = 10 * time.Second

// aside tells of a server by HTTP, on package net: it answers whatever becomes of the engine that it tells of.
type aside struct {
	flag     string // by which it is asked for
	listener net.Listener
	http     http.Server
	served   chan error
}

// listenAside binds an address, or takes the socket that was inherited for it. It returns nil for no address: nobody is told then, by
// the methods of nil. serve must be called next, or close.
func listenAside(u *upgrade.Upgrader, flag, network, addr string) (*aside, error) {
	if addr == "" {
		return nil, nil
	}
	listener, err := u.Listen(network, addr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return &aside{flag: flag, listener: listener}, nil
}

// listenControl is listenAside for "unix:PATH" as well.
func listenControl(u *upgrade.Upgrader, addr string) (*aside, error) {
	if addr == "" {
		return nil, nil
	}
	network, addr, err := control.SplitAddress(addr)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	return listenAside(u, "control", network, addr)
}

func (a *aside) serve(handler http.Handler) {
	if a == nil {
		return
	}
	a.http = http.Server{Handler: handler, ReadHeaderTimeout: asidePatience}
	a.served = make(chan error, 1)
	go func() { a.served <- a.http.Serve(a.listener) }()
}

// close ends it at once.
func (a *aside) close() error {
	if a == nil {
		return nil
	}
	if a.served == nil {
		return a.listener.Close()
	}
	err := a.http.Close()
	if served := <-a.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("%s: %w", a.flag, served))
	}
	return err
}

// asides are all of a server, each of which may be nil.
type asides struct{ metrics, control *aside }

func (a asides) close() error { return errors.Join(a.metrics.close(), a.control.close()) }
