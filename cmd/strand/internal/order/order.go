// Package order shows in which order a server does its work for a client, in two styles that are told the same things: callbacks that
// do their work beside each other, and one sequential handler for each connection.
package order

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/strand-net/strand/coserver"
)

// Options say what is shown.
type Options struct {
	// Redis is where the servers keep what they store: HOST:PORT, or the path of a unix socket. Keys are new and are deleted again.
	Redis string

	// Clients is how many clients come, all at once.
	Clients int

	// Delay is how long the servers take, when a client has come, before they store something for it.
	Delay time.Duration

	// Carrier runs the sequential handlers.
	Carrier coserver.Carrier

	// slow takes the time instead of Delay.
	slow func(ctx context.Context, c *client) error
}

// limit is how long a client waits for its answer, besides the delay.
const limit = 20 * time.Second

// run is one server, from its first client to the end of the last.
type run struct {
	Options
	ctx   context.Context // until the first failure
	end   context.CancelFunc
	store *store
	begin time.Time

	mu      sync.Mutex
	clients map[string]*client // by address
	events  []Event
	err     error // the first
	inside  int   // clients that the server knows of
	left    sync.Cond
}

// client is one client, as both ends know it.
type client struct {
	number         int
	sent, answered chan struct{}
}

// server serves run's clients until stop, which waits for all that it has begun.
type server func(r *run) (addr net.Addr, stop func(), err error)

func (o Options) run(ctx context.Context, style Style, serve server) (*Report, error) {
	s, err := openStore(ctx, o.Redis)
	if err != nil {
		return nil, err
	}
	r := &run{Options: o, store: s, begin: time.Now(), clients: map[string]*client{}}
	r.ctx, r.end = context.WithCancel(ctx)
	r.left.L = &r.mu
	defer r.end()
	addr, stop, err := serve(r)
	if err != nil {
		return nil, err
	}
	var visits sync.WaitGroup
	for range o.Clients {
		visits.Go(func() { r.failed(r.visit(addr)) })
	}
	visits.Wait()
	stop()
	r.failed(r.store.clear(r.keys()))
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.err != nil {
		return nil, r.err
	}
	return &Report{Style: style, Clients: o.Clients, Delay: o.Delay, Events: r.events}, nil
}

// visit is what a client does: it sends "hello" as soon as it is connected, and leaves when it has its answer.
func (r *run) visit(addr net.Addr) error {
	var dialer net.Dialer
	c, err := dialer.DialContext(r.ctx, addr.Network(), addr.String())
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(r.ctx, func() { c.Close() })()
	me := r.client(c.LocalAddr())
	if err := c.SetDeadline(time.Now().Add(r.Delay + limit)); err != nil {
		return err
	}
	if _, err := c.Write([]byte(greeting + "\n")); err != nil {
		return fmt.Errorf("client %d: %w", me.number, err)
	}
	r.note(me, Sent, greeting)
	close(me.sent)
	answer, err := readLine(c)
	if err != nil {
		return fmt.Errorf("client %d: no answer: %w", me.number, err)
	}
	r.note(me, Answered, answer)
	close(me.answered)
	return nil
}

// greeting is what a client sends.
const greeting = "hello"

// readLine reads byte by byte: nothing may be left for another.
func readLine(c net.Conn) (string, error) {
	var line []byte
	for one := make([]byte, 1); ; {
		if _, err := c.Read(one); err != nil {
			return "", err
		}
		if one[0] == '\n' {
			return string(line), nil
		}
		line = append(line, one[0])
	}
}

// client is the one at an address.
func (r *run) client(addr net.Addr) *client {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.clients[addr.String()]
	if c == nil {
		c = &client{number: len(r.clients) + 1, sent: make(chan struct{}), answered: make(chan struct{})}
		r.clients[addr.String()] = c
	}
	return c
}

// enter and leave are for the server, to say that it knows of one client more or less.
func (r *run) enter() { r.count(1) }
func (r *run) leave() { r.count(-1) }

func (r *run) count(change int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inside += change
	r.left.Broadcast()
}

// await returns when the server knows of no client: it is to learn that each has gone before it is stopped.
func (r *run) await() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.inside > 0 {
		r.left.Wait()
	}
}

func (r *run) keys() (keys []any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.clients {
		keys = append(keys, r.store.key(c))
	}
	return keys
}

func (r *run) note(c *client, step Step, value string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, Event{At: time.Since(r.begin), Client: c.number, Step: step, Value: value})
}

// failed ends the run because of err, if there is one.
func (r *run) failed(err error) {
	if err == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
	r.end()
}

// keep is what a server does when c has come: it stores a value for it, slowly.
func (r *run) keep(s *session, c *client) error {
	if err := r.takeTime(c); err != nil {
		return err
	}
	value := fmt.Sprintf("client %d connected", c.number)
	if err := s.set(r.store.key(c), value); err != nil {
		return err
	}
	r.note(c, Stored, value)
	return nil
}

func (r *run) takeTime(c *client) error {
	if r.slow != nil {
		return r.slow(r.ctx, c)
	}
	return coserver.Sleep(r.ctx, r.Delay)
}

// fetch is what a server does when something has come from c: it looks for the value, and returns the answer.
func (r *run) fetch(s *session, c *client) ([]byte, error) {
	value, err := s.get(r.store.key(c))
	if err != nil {
		return nil, err
	}
	r.note(c, Fetched, value)
	return []byte(value + "\n"), nil
}
