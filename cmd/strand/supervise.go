package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/strand-net/strand/coserver/upgrade"
)

// workerGrace is how much longer than its own limits a worker may take before it is killed.
const workerGrace = 5 * time.Second

// supervise keeps processes serving, each of which runs serve on the same socket.
func (c *serveCommand) supervise(u *upgrade.Upgrader, listener net.Listener) error {
	ends, reloads := c.signals()
	defer listener.Close()
	s := &upgrade.Supervisor{Upgrader: u, Workers: c.Procs, RetireLimit: 2*c.Drain + workerGrace}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	started := make(chan error, 1)
	go func() { started <- s.Start(ctx) }()
	select {
	case err := <-started:
		if err != nil {
			return err
		}
	case <-ends:
		cancel()
		if err := <-started; err != nil {
			return errors.New("interrupted before it served")
		}
		return c.stopWorkers(u, s, ends)
	}
	if err := u.Ready(); err != nil {
		return errors.Join(err, c.stopWorkers(u, s, ends))
	}
	eof := make(chan struct{})
	if c.UntilEOF {
		go func() {
			io.Copy(io.Discard, os.Stdin)
			close(eof)
		}()
	}
	fmt.Printf("listening on %v (engine %s, proto %s, %d processes)\n", listener.Addr(), c.Engine, c.Proto, c.Procs)
	for {
		select {
		case <-ends:
			return c.stopWorkers(u, s, ends)
		case <-eof:
			cancel()
			s.Stop(ctx) // at once
			return nil
		case <-reloads:
			go func() {
				if err := s.Reload(context.Background()); err != nil {
					report("not reloaded: %v", err)
				} else {
					report("reloaded: %d new processes serve", c.Procs)
				}
			}()
		}
	}
}

// stopWorkers has the workers drain, within their own limit; a further signal kills them.
func (c *serveCommand) stopWorkers(u *upgrade.Upgrader, s *upgrade.Supervisor, ends <-chan os.Signal) error {
	u.Stop()
	return untilForced(c.Drain+workerGrace, ends, s.Stop)
}
