package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/strand-net/strand/bench/control"
	"github.com/strand-net/strand/bench/server"
	"github.com/strand-net/strand/coserver/upgrade"
)

// serve runs srv, of which told may tell, until it is told to end, or another process has taken over.
func (c *serveCommand) serve(u *upgrade.Upgrader, srv server.Server, told asides) error {
	// Before it is ready, and before the line is printed: who has read it may send a signal at once.
	ends, reloads := c.signals()
	force := ends
	if u.IsWorker() {
		force = nil // that is for its supervisor: a service manager sends a signal to both, and the supervisor another
	}
	// Before anybody is accepted: until it has taken note, the process whose place this one takes may give up on this one.
	if err := u.Ready(); err != nil {
		return errors.Join(err, srv.Close())
	}
	// What starting has left over is room for connections. It would also decide into whose traffic the first collection falls, which
	// touches memory and code that then look as if connections needed them.
	runtime.GC()
	served := make(chan error, 1)
	go func() { served <- srv.Serve() }()
	if told.metrics != nil {
		told.metrics.serve(metricsHandler(srv.Stats))
	}
	told.control.serve(control.Handler())
	if c.UntilEOF && !u.IsWorker() {
		go func() {
			io.Copy(io.Discard, os.Stdin)
			srv.Close()
		}()
	}
	if !u.IsWorker() && !u.IsSuccessor() { // somebody has said so before, and perhaps nobody reads it any more
		fmt.Printf("listening on %v (engine %s, proto %s)\n", srv.Addr(), c.Engine, c.Proto)
		if told.metrics != nil {
			fmt.Printf("metrics on http://%v/metrics\n", told.metrics.listener.Addr())
		}
		if told.control != nil {
			fmt.Printf("control on %v\n", told.control.listener.Addr())
		}
	}
	for {
		select {
		case err := <-served:
			return err
		case <-ends:
			u.Stop()
			return errors.Join(c.drain(srv, force), <-served)
		case <-reloads:
			if !u.IsWorker() { // its supervisor does it
				go func() {
					if err := u.Upgrade(context.Background()); err != nil {
						report("not reloaded: %v", err)
					}
				}()
			}
		case <-u.Exit():
			if errors.Is(u.Err(), upgrade.ErrReplaced) {
				if next := u.Successor(); next != 0 { // of workers, the supervisor says it
					report("reloaded: process %d serves", next)
				}
				// New connections come to another process. The others are left alone for some time, and what is left then is for drain.
				_ = untilForced(c.Drain, ends, srv.Retire)
			}
			return errors.Join(c.drain(srv, force), <-served)
		}
	}
}

// signals returns what is to end the process, and what is to have it reloaded.
func (c *serveCommand) signals() (ends, reloads <-chan os.Signal) {
	ending, reloading := make(chan os.Signal, 2), make(chan os.Signal, 1)
	signal.Notify(ending, os.Interrupt, syscall.SIGTERM)
	for _, sig := range reloadSignals {
		if !c.UntilEOF && !signal.Ignored(sig) { // as by nohup
			signal.Notify(reloading, sig)
		}
	}
	return ending, reloading
}

// report says what has become of a reload. Standard output is for the line that says where the server listens.
func report(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "strand: serve: "+format+"\n", args...)
}

// drain ends the server gently for as long as the drain limit and the user's patience last.
func (c *serveCommand) drain(srv server.Server, force <-chan os.Signal) error {
	return untilForced(c.Drain, force, srv.Shutdown)
}

// untilForced calls end with a context that ends with the limit, or with a signal.
func untilForced(limit time.Duration, force <-chan os.Signal, end func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- end(ctx) }()
	var err error
	select {
	case err = <-ended:
	case <-force:
		cancel()
		err = <-ended
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return nil // connections that were left have been closed, as asked for
	}
	return err
}
