package coserver_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/loop"
	"github.com/strand-net/strand/poller/sys/systest"
	"github.com/strand-net/strand/poller/sys/systest/simtest"
)

// handlerSimulation is servers with handlers of all kinds on the kernel of package systest, with clients that do what
// clients do, and goroutines that use the handlers' connections.
func handlerSimulation(carriers ...coserver.Carrier) *simtest.Simulation {
	return &simtest.Simulation{
		// Not what is called with a lock held: accept and epoll_ctl.
		Held: []string{"park", "recv", "recv" + systest.Returns, "send", "send" + systest.Returns,
			"sendv", "sendv" + systest.Returns, "close", "shutdown"},
		Drive: func(s *simtest.Sim) { newSimulated(s, carriers).run() },
	}
}

func TestSimulation(t *testing.T) {
	handlerSimulation(coserver.Inline, coserver.Inline, coserver.Channel).Run(t, 1000)
}

func TestSimulationReplays(t *testing.T) { handlerSimulation(coserver.Inline).Replay(t, 30) }

// acceptPause is the longest that accepting rests for want of descriptors.
const acceptPause = 50 * time.Millisecond

// simulated is one run.
type simulated struct {
	*simtest.Sim
	engine   *coserver.Engine
	servers  []*simulatedServer
	clients  map[netip.AddrPort]*client // whom a handler serves; written while no handler runs
	all      []*client                  // in the order of their beginning
	started  atomic.Int64               // handlers
	returned atomic.Int64
	closed   atomic.Int64 // connections that the observer was told of
	actors   atomic.Int64 // goroutines that have not returned
	buffer   [1 << 16]byte
}

type simulatedServer struct {
	coserver.Server
	kind   handlerKind
	ln     *coserver.Listener
	ending bool
}

func newSimulated(s *simtest.Sim, carriers []coserver.Carrier) *simulated {
	m := &simulated{Sim: s, clients: make(map[netip.AddrPort]*client)}
	logger := s.Logger("callback panicked", "listener cannot be watched", "connection ended")
	var err error
	m.engine, err = coserver.NewEngineWith(coserver.EngineConfig{MaxGoroutines: 1000},
		loop.Config{Loops: 1 + s.Rand.IntN(2), Kernel: s.Kernel, Logger: logger})
	if err != nil {
		s.Fatalf("%v", err)
	}
	s.Settle()
	for range 1 + s.Rand.IntN(3) { // few, so that each has something to do
		server := &simulatedServer{kind: handlerKinds[s.Rand.IntN(len(handlerKinds))]}
		server.Engine, server.Logger = m.engine, logger
		server.Carrier = carriers[s.Rand.IntN(len(carriers))]
		server.Handler = func(c *coserver.Conn) error { return m.serve(server, c) }
		server.OnError = m.onError
		server.Observer = &coserver.Observer{Closed: func(*coserver.Conn, coserver.Ending) { m.closed.Add(1) }}
		m.limit(server)
		if s.OneIn(2) {
			server.MaxQueued = 100 + s.Rand.IntN(3000)
		}
		m.servers = append(m.servers, server)
		m.listen(server)
	}
	return m
}

// limit gives a server limits, which its handlers go on after; except that of what is gathered, which would cut a client.
func (m *simulated) limit(server *simulatedServer) {
	server.MaxConns, server.MaxConnsPerIP = 1000, 1000 // to see them counted
	for _, timeout := range []*time.Duration{&server.IdleTimeout, &server.ReadTimeout, &server.WriteTimeout} {
		if m.OneIn(3) {
			*timeout = 1 + m.Within(2*time.Second)
		}
	}
	if server.kind.gathers || server.kind.shared {
		server.WriteTimeout = 0
	}
}

func (m *simulated) listen(server *simulatedServer) {
	var err error
	if server.ln, err = server.Listen("tcp", "127.0.0.1:0"); err != nil {
		m.Fatalf("%v", err)
	}
	ln := server.ln
	m.spawn(func() {
		if err := server.Serve(ln); err != coserver.ErrServerClosed {
			m.Wrong("Serve: %v", err)
		}
	})
}

// spawn is Go with a count.
func (m *simulated) spawn(do func()) {
	m.actors.Add(1)
	m.Go(func() {
		defer m.actors.Add(-1)
		do()
	})
}

// onError: handlers fail for no other reason than their connections, and a connection that cannot be watched has none.
func (m *simulated) onError(_ *coserver.Conn, err error) {
	if !errors.Is(err, syscall.ENOMEM) && !errors.Is(err, syscall.ENOSPC) {
		m.Wrong("OnError: %v", err)
	}
}

func (m *simulated) serve(server *simulatedServer, conn *coserver.Conn) error {
	m.started.Add(1)
	defer m.returned.Add(1)
	addr, _ := conn.RemoteAddr().(*net.TCPAddr)
	c := m.clients[addr.AddrPort()]
	if c == nil || c.server != server || c.conn.Load() != nil {
		m.Wrong("a connection of nobody, or served twice: %v", addr)
		return nil
	}
	c.conn.Store(conn)
	err := server.kind.serve(c, conn)
	m.Pause(-c.Number) // its last Write may have woken a writer, in the middle of a step, which finds the connection closed or not
	m.Trace("client %d: handler returns: %v", c.Number, err)
	c.left.Store(true)
	return err
}

func (m *simulated) run() {
	m.Rest(m.peersRead)
	m.Scarce()
	actions := m.actions()
	for range 30 + m.Rand.IntN(90) {
		m.Step(actions)
	}
	m.Calm()
	for _, c := range m.all {
		c.Peer.SetWindow(1 << 16)
	}
	m.Rest(m.peersRead)
	if m.Lacking {
		m.timePassesBy(acceptPause)
		m.Rest(m.peersRead)
	}
	m.releaseGathered()
	for _, c := range m.all {
		m.checkAtRest(c)
	}
	m.checkDeadlines()
	m.close()
}

// close ends servers and engine, in one of the ways to do it: nothing is left.
func (m *simulated) close() {
	done := make(chan struct{})
	way := m.Rand.IntN(3)
	m.Trace("end %d", way)
	m.spawn(func() {
		defer close(done)
		for _, server := range m.servers {
			switch way {
			case 0:
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				m.shutdown(ctx, server)
				cancel()
			case 1:
				server.Close()
			}
			m.Pause(0) // the end of a handler may have woken it, in the middle of a step
		}
		if err := m.engine.Close(); err != nil {
			m.Wrong("%v", err)
		}
		for _, server := range m.servers {
			server.Close()
		}
	})
	m.Finish(done, 10*time.Second, m.peersRead, "the end")
	m.Rest(m.peersRead)
	m.Clean()
	for _, c := range m.all {
		if conn := c.conn.Load(); conn != nil && (coserver.HasQueue(conn) || coserver.QueueMemory(conn) != 0) {
			m.Fatalf("client %d: a queue is left, or memory of one", c.Number)
		}
	}
	if m.started.Load() != m.returned.Load() || m.actors.Load() != 0 {
		m.Fatalf("%d handlers started, %d returned; %d other goroutines wait", m.started.Load(), m.returned.Load(), m.actors.Load())
	}
	accepted := uint64(0)
	for _, server := range m.servers {
		stats := server.Stats()
		accepted += stats.Accepted
		if conns, addresses := coserver.Admitted(&server.Server); stats.Active != 0 || conns != 0 || addresses != 0 {
			m.Fatalf("%d connections are active, %d have places, of %d addresses", stats.Active, conns, addresses)
		}
	}
	if int64(accepted) != m.started.Load() || int64(accepted) != m.closed.Load() {
		m.Fatalf("%d connections let in, %d handlers started, %d seen to end", accepted, m.started.Load(), m.closed.Load())
	}
}

// checkAtRest: nothing is on its way, so everything that was sent has come and has been answered.
func (m *simulated) checkAtRest(c *client) {
	if c.Gone || c.cut.Load() {
		return
	}
	if c.conn.Load() == nil {
		if !c.GotEnd {
			m.Fatalf("client %d is not served", c.Number)
		}
		return
	}
	want, end := c.server.kind.answer(c)
	if c.got != want || c.GotEnd != end {
		m.Fatalf("client %d (%s) is stuck: sent %d, seen %d, got %d of %d, end %v, want %v", c.Number, c.server.kind.name, c.Sent,
			c.seen.Load(), c.got, want, c.GotEnd, end)
	}
	if c.left.Load() != end {
		m.Fatalf("client %d (%s): handler returned %v, want %v", c.Number, c.server.kind.name, c.left.Load(), end)
	}
	if coserver.HasQueue(c.conn.Load()) {
		m.Fatalf("client %d: something is queued", c.Number)
	}
	for w := range writers {
		if taken := c.taken[w].Load(); int(taken) != c.frames[w] {
			m.Fatalf("client %d: %d of %d frames of writer %d", c.Number, c.frames[w], taken, w)
		}
	}
}

// checkDeadlines: each handler that waits for input is told of a deadline that is set meanwhile, and then moved on.
func (m *simulated) checkDeadlines() {
	before := make(map[*client]int64)
	for _, c := range m.all {
		if c.conn.Load() != nil && !c.left.Load() {
			before[c] = c.timeouts.Load()
		}
	}
	for _, after := range []time.Duration{100 * time.Millisecond, 200 * time.Millisecond} {
		for _, c := range m.all {
			if conn := c.conn.Load(); conn != nil {
				m.spawn(func() { conn.SetReadDeadline(time.Now().Add(after)) })
			}
		}
		m.Rest(m.peersRead)
	}
	for range 2 { // the first is when the timer fires that was set first
		m.Advance(150 * time.Millisecond)
		m.Rest(m.peersRead)
	}
	for c, timeouts := range before {
		if c.timeouts.Load() == timeouts && !c.left.Load() {
			m.Fatalf("client %d (%s): the handler has missed its deadline", c.Number, c.server.kind.name)
		}
	}
	m.timePassed()
}

// releaseGathered makes handlers write once more after a write deadline. Gathered output that could not go out by then goes
// out with the next Write, and not before.
func (m *simulated) releaseGathered() {
	for _, c := range m.all {
		if conn := c.conn.Load(); conn != nil && c.late {
			if c.Finished { // there is no next
				c.cut.Store(true)
			}
			m.spawn(func() { conn.SetWriteDeadline(time.Time{}) })
		}
	}
	m.Rest(m.peersRead)
	for _, c := range m.all {
		if !c.late {
			continue
		}
		end := c.Sent + record - c.Sent%record
		for c.Requests().At(end-1) != '\n' {
			end++
		}
		for before := -1; before < c.Sent && c.Sent < end; {
			before = c.Sent
			c.Write(end - c.Sent)
			m.Rest(m.peersRead)
		}
	}
}

// actions are what clients, and goroutines beside the handlers, do.
func (m *simulated) actions() []simtest.Action {
	pick := func() *simtest.Client {
		if len(m.all) == 0 {
			return nil
		}
		return m.all[m.Rand.IntN(len(m.all))].Client
	}
	conn := func(do func(*client, *coserver.Conn)) func() {
		return func() {
			if len(m.all) == 0 {
				return
			}
			c := m.all[m.Rand.IntN(len(m.all))]
			if conn := c.conn.Load(); conn != nil {
				do(c, conn)
			}
		}
	}
	return append(m.Actions(pick), []simtest.Action{
		{Weight: 8, Do: m.connect},
		{Weight: 15, Do: conn(m.writeFrames)},
		{Weight: 30, Do: conn(m.setDeadline)},
		{Weight: 3, Do: conn(m.closeConn)},
		{Weight: 1, Do: m.restart},
		{Weight: 10, Do: m.timePasses},
	}...)
}

// writeFrames writes from a goroutine that is not the handler's, and enqueues.
func (m *simulated) writeFrames(c *client, conn *coserver.Conn) {
	if !c.server.kind.shared {
		return
	}
	w := m.Rand.IntN(writers)
	if c.writing[w].Swap(true) {
		return // each writer is one goroutine
	}
	count := 1 + m.Rand.IntN(5)
	calls := m.Rand.IntN(1 << count)
	m.Trace("client %d: writer %d writes %d frames", c.Number, w, count)
	m.spawn(func() {
		defer c.writing[w].Store(false)
		for i := range count {
			f := numbered(w, int(c.begun[w].Add(1))-1)
			n := 0
			var err error
			queues := calls&(1<<i) != 0
			if queues {
				err = conn.Enqueue(f)
			}
			if !queues || errors.Is(err, coserver.ErrQueueFull) {
				n, err = conn.Write(f)
			}
			m.Pause(writers*c.Number + w)
			if err == nil {
				c.taken[w].Add(1)
				continue
			}
			if !errors.Is(err, net.ErrClosed) && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
				m.Wrong("client %d: Write took %d: %v", c.Number, n, err)
			}
			c.cut.Store(true)
		}
	})
}

// setDeadline changes a deadline under the handler, which takes no notice of a timeout.
func (m *simulated) setDeadline(c *client, conn *coserver.Conn) {
	at := time.Time{}
	switch m.Rand.IntN(3) {
	case 0:
		at = time.Now().Add(-time.Second)
	case 1:
		at = time.Now().Add(m.Within(2 * time.Second))
	}
	set := conn.SetReadDeadline
	if !c.server.kind.shared && !m.OneIn(3) {
		set = conn.SetWriteDeadline
		c.late = c.late || c.server.kind.gathers
		if c.server.kind.queues {
			c.cut.Store(true) // nobody is there to whom a timeout could be told
		}
	}
	m.Trace("client %d: deadline", c.Number)
	m.spawn(func() {
		if err := set(at); err != nil && !errors.Is(err, net.ErrClosed) {
			m.Wrong("client %d: %v", c.Number, err)
		}
	})
}

func (m *simulated) closeConn(c *client, conn *coserver.Conn) {
	m.Trace("client %d: Close", c.Number)
	c.cut.Store(true)
	m.spawn(func() { conn.Close() })
}

// restart shuts a server down, with a patience that may be too short, and starts it again.
func (m *simulated) restart() {
	server := m.servers[m.Rand.IntN(len(m.servers))]
	if server.ending {
		return
	}
	m.Trace("server %s restarts", server.kind.name)
	for _, c := range m.all {
		if c.server == server {
			c.cut.Store(true)
		}
	}
	server.ending = true
	patience := m.Within(2 * time.Second)
	over := make(chan struct{})
	m.spawn(func() {
		defer close(over)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		m.shutdown(ctx, server)
	})
	m.Finish(over, patience+time.Millisecond, func() bool { return false }, "Shutdown")
	m.timePassed()
	m.Kernel.SetMaxDescriptors(0)
	server.ending = false
	m.listen(server)
}

// shutdown may have to end requests that have begun and do not go on.
func (m *simulated) shutdown(ctx context.Context, server *simulatedServer) {
	if err := server.Shutdown(ctx); err != nil && err != context.DeadlineExceeded {
		m.Wrong("Shutdown: %v", err)
	}
}

func (m *simulated) timePasses() {
	m.timePassesBy(m.Within(time.Second))
}

func (m *simulated) timePassesBy(d time.Duration) {
	m.Advance(d)
	m.timePassed()
}

// timePassed may have ended the patience of a connection that was being closed, or that has something queued.
func (m *simulated) timePassed() {
	for _, c := range m.all {
		if c.Finished || c.server.kind.leaves || c.server.kind.queues && c.server.WriteTimeout > 0 {
			c.cut.Store(true)
		}
	}
}

func (m *simulated) connect() {
	server := m.servers[m.Rand.IntN(len(m.servers))]
	c := &client{server: server, rand: rand.New(rand.NewPCG(m.Seed, uint64(len(m.all)+1))), m: m}
	c.Client = m.Connect(len(m.all)+1, server.ln.Addr(), c.take, func(err error) {
		if want, _ := server.kind.answer(c); c.conn.Load() != nil && !c.cut.Load() && c.got < want {
			m.Fatalf("client %d (%s): %v, with %d of %d bytes", c.Number, server.kind.name, err, c.got, want)
		}
		c.cut.Store(true)
	})
	m.clients[c.Peer.Addr()] = c
	m.all = append(m.all, c)
}

// peersRead lets every peer take what has come, and reports whether there was anything.
func (m *simulated) peersRead() bool {
	any := false
	for _, c := range m.all {
		any = c.Read(m.buffer[:]) || any
	}
	return any
}

// isTimeout is what handlers of the simulation go on after.
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
