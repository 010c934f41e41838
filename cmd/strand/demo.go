package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/strand-net/strand/cmd/strand/internal/order"
)

type demoCommand struct {
	Order orderCommand `cmd:"" help:"Show in which order callbacks and a sequential handler do their work for a client."`
}

type orderCommand struct {
	Redis   string        `help:"Redis server to store in: an address, or the path of a unix socket. By default one runs inside this process." placeholder:"HOST:PORT"`
	Clients int           `default:"3" help:"Number of clients that come at the same time." placeholder:"N"`
	Delay   time.Duration `default:"200ms" help:"How long the servers take before they store something for a client that has come."`
}

// maxDemoClients is what a report can show, and more than descriptors allow in most places.
const maxDemoClients = 1000

// Run ends without an error if the sequential server has kept the order.
func (c *orderCommand) Run() error {
	if c.Clients < 1 || c.Clients > maxDemoClients {
		return usageError{fmt.Errorf("clients: %d is not from 1 to %d", c.Clients, maxDemoClients)}
	}
	if c.Delay < 0 {
		return usageError{fmt.Errorf("delay: %v is negative", c.Delay)}
	}
	options := order.Options{Redis: c.Redis, Clients: c.Clients, Delay: c.Delay}
	where := "Redis at " + c.Redis
	if c.Redis == "" {
		addr, stop, err := order.Embedded()
		if err != nil {
			return err
		}
		defer stop()
		options.Redis, where = addr, "a Redis server inside this process"
	} else if !strings.Contains(c.Redis, "/") {
		if _, _, err := net.SplitHostPort(c.Redis); err != nil {
			return usageError{fmt.Errorf("redis: %w", err)}
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := c.show(ctx, os.Stdout, options, where)
	if ctx.Err() != nil {
		return errInterrupted
	}
	if errors.As(err, new(*order.RedisError)) {
		return usageError{err}
	}
	return err
}

func (c *orderCommand) show(ctx context.Context, w io.Writer, options order.Options, where string) error {
	asynchronous, err := order.Asynchronous(ctx, options)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "A client connects and sends a line at once. The server stores something for it when it has come, which takes a while (%v),\n"+
		"and fetches it when the line has come, and answers with it. It stores in %s.\n\n", c.Delay, where)
	fmt.Fprintln(w, "1. Asynchronous: callbacks of package loop. They must not block, so each does its work on a goroutine of its own.")
	if err := asynchronous.Write(w); err != nil {
		return err
	}
	sequential, err := order.Sequential(ctx, options)
	if err != nil {
		return err
	}
	fmt.Fprintln(w, "\n2. Sequential: one handler of package coserver for each client. It may block, so it does one thing after the other.")
	if err := sequential.Write(w); err != nil {
		return err
	}
	if broken := sequential.Broken(); len(broken) > 0 {
		return fmt.Errorf("the sequential server has broken the order: %s", strings.Join(broken, "; "))
	}
	return nil
}
