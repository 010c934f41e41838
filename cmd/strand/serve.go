package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/strand-net/strand/bench/server"
)

type serveCommand struct {
	Engine  string        `default:"coserver" help:"Engine to serve with: coserver, loop or net." placeholder:"NAME"`
	Proto   string        `default:"echo" help:"Protocol to speak: echo, line, http (net/http) or block (see --block); the last two not with engine loop." placeholder:"NAME"`
	Addr    string        `default:"127.0.0.1:7000" help:"Address to listen on; port 0 takes a free one." placeholder:"HOST:PORT"`
	Loops   int           `default:"0" help:"Number of event loops; 0 means one for each core." placeholder:"N"`
	Carrier string        `default:"auto" help:"Who runs the handlers of engine coserver: auto, inline or channel." placeholder:"NAME"`
	TLSCert string        `name:"tls-cert" help:"Serve TLS with the certificate in this PEM file; not with engine loop." placeholder:"FILE"`
	TLSKey  string        `name:"tls-key" help:"The key of the certificate." placeholder:"FILE"`
	Block   string        `default:"sleep" help:"How the handlers of protocol block do so before they answer: sleep, mutex (wait for a lock), cpu (compute) or park (coserver.Sleep; with engine net, sleep)." placeholder:"NAME"`
	For     time.Duration `default:"1ms" help:"How long they block for each request."`
	Share   server.Share  `default:"100%" help:"Share of the connections that block: 1% is every hundredth. Up to four decimals." placeholder:"PERCENT"`
	Drain   time.Duration `default:"5s" help:"How long connections may take to end after SIGINT or SIGTERM. A second signal ends them at once."`

	Metrics string `help:"Tell of the server by HTTP on this address: /metrics for Prometheus, /debug/vars and /debug/pprof/. Whoever can connect there can see and burden the process." placeholder:"HOST:PORT"`

	TakeOverAfter time.Duration `default:"1ms" help:"How long a handler of engine coserver may keep its loop, which then goes on without it; 0 means for ever."`

	// A server that strand bench has started must not outlive it, however it ends.
	UntilEOF bool `name:"until-eof" hidden:"" help:"End when standard input ends."`
}

func (c *serveCommand) Run(ctx *kong.Context) error {
	options, err := c.options(ctx)
	if err != nil {
		return usageError{err}
	}
	told, err := c.listenMetrics()
	if err != nil {
		return usageError{err}
	}
	srv, err := server.Listen(options)
	if err != nil {
		if told != nil {
			told.close()
		}
		return usageError{err}
	}
	// Before the line is printed: who has read it may send a signal at once.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	served := make(chan error, 1)
	go func() { served <- srv.Serve() }()
	if c.UntilEOF {
		go func() {
			io.Copy(io.Discard, os.Stdin)
			srv.Close()
		}()
	}
	if told != nil {
		told.serve(srv.Stats)
	}
	fmt.Printf("listening on %v (engine %s, proto %s)\n", srv.Addr(), c.Engine, c.Proto)
	if told != nil {
		fmt.Printf("metrics on http://%v/metrics\n", told.listener.Addr())
	}
	select {
	case err = <-served:
	case <-signals:
		err = errors.Join(c.drain(srv, signals), <-served)
	}
	if told != nil { // last: a drain can be watched
		err = errors.Join(err, told.close())
	}
	return err
}

// listenMetrics returns nil if there are to be none.
func (c *serveCommand) listenMetrics() (*metricsServer, error) {
	if c.Metrics == "" {
		return nil, nil
	}
	return listenMetrics(c.Metrics)
}

// options checks all that can be checked before anything is started.
func (c *serveCommand) options(ctx *kong.Context) (server.Options, error) {
	o := server.Options{Engine: c.Engine, Proto: c.Proto, Addr: c.Addr, Loops: c.Loops, Carrier: c.Carrier}
	if c.Drain < 0 {
		return o, fmt.Errorf("drain: %v is negative", c.Drain)
	}
	var err error
	if o.TLS, err = c.tlsConfig(); err != nil {
		return o, err
	}
	if c.Proto == server.ProtoBlock {
		o.Block = server.Block{Kind: c.Block, For: c.For, Share: c.Share}
	}
	if c.Engine == server.EngineCoserver {
		if c.Metrics != "" {
			o.LagInterval = lagInterval
		}
		o.TakeOverAfter = c.TakeOverAfter
	}
	if err := o.Validate(); err != nil {
		return o, err
	}
	// These have defaults that mean nothing elsewhere; whoever sets them there expects something that does not come.
	for _, element := range ctx.Path {
		if element.Flag == nil {
			continue
		}
		switch name := element.Flag.Name; name {
		case "block", "for", "share":
			if c.Proto != server.ProtoBlock {
				return o, fmt.Errorf("%s: the handlers of protocol %s do not block", name, c.Proto)
			}
		case "take-over-after":
			if c.Engine != server.EngineCoserver {
				return o, fmt.Errorf("%s: engine %s takes no loops over", name, c.Engine)
			}
		}
	}
	return o, nil
}

// tlsConfig returns nil if TLS is not asked for.
func (c *serveCommand) tlsConfig() (*tls.Config, error) {
	if c.TLSCert == "" && c.TLSKey == "" {
		return nil, nil
	}
	if c.TLSCert == "" || c.TLSKey == "" {
		return nil, errors.New("tls: --tls-cert and --tls-key go together")
	}
	certificate, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{certificate}}, nil
}

// drain ends the server gently for as long as the drain limit and the user's patience last.
func (c *serveCommand) drain(srv server.Server, signals <-chan os.Signal) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.Drain)
	defer cancel()
	go func() {
		select {
		case <-signals:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := srv.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return nil // connections that were left have been closed, as asked for
	}
	return err
}
