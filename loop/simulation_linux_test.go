package loop_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/strand-net/strand/loop"
	"github.com/strand-net/strand/poller/sys/systest/simtest"
)

// callbackSimulation is the callback API on the kernel of package systest, with clients that do what clients do, and a
// program that uses its connections from elsewhere all the time.
var callbackSimulation = &simtest.Simulation{
	// Not what is called with a lock held: accept and send.
	Held:  []string{"park", "recv", "close", "shutdown"},
	Drive: func(s *simtest.Sim) { newSimulated(s).run() },
}

func TestSimulation(t *testing.T) { callbackSimulation.Run(t, 1000) }

func TestSimulationReplays(t *testing.T) { callbackSimulation.Replay(t, 30) }

// acceptPause is the longest that accepting rests for want of descriptors.
const acceptPause = 50 * time.Millisecond

// simulated is one run.
type simulated struct {
	*simtest.Sim
	engine    *loop.Engine
	listeners []*loop.Listener
	clients   map[netip.AddrPort]*client
	all       []*client // in the order of their beginning
	posts     int       // runners posted
	ran       int       // and run
	buffer    [1 << 16]byte
	timers    []int64 // when those that have not fired are due
	resting   bool    // handlers do nothing of their own accord
}

// client is a connection as both of its ends see it.
type client struct {
	*simtest.Client
	conn *loop.Conn // nil before OnOpen
	eofs bool       // its handler wants to know of the peer's end

	got           int // by the peer
	seen, written int // by the handler; written: taken by Write

	opened, ended, closed bool // callbacks that have come
	cause                 error
	cut                   bool // output may be lost: CloseNow, or a close whose patience may be over
	closing               bool // this side has called Close
}

// answers is what the handler writes.
func (c *client) answers() simtest.Stream { return c.Requests() + 1 }

func newSimulated(s *simtest.Sim) *simulated {
	m := &simulated{Sim: s, clients: make(map[netip.AddrPort]*client)}
	var err error
	m.engine, err = loop.NewEngine(loop.Config{Loops: 1 + s.Rand.IntN(2), Kernel: s.Kernel,
		Logger: s.Logger("callback panicked", "listener cannot be watched")})
	if err != nil {
		s.Fatalf("%v", err)
	}
	s.Settle()
	for _, handler := range []loop.Handler{m.callbacks(), halfOpen{callbacks: m.callbacks(), eof: m.ended}} {
		ln, err := m.engine.Start("tcp", "127.0.0.1:0", loop.Service{Handler: handler, MaxQueued: 1 + s.Size(100_000)})
		if err != nil {
			s.Fatalf("%v", err)
		}
		m.listeners = append(m.listeners, ln)
	}
	return m
}

func (m *simulated) run() {
	m.Rest(m.peersRead)
	m.Scarce()
	actions := m.actions()
	for range 40 + m.Rand.IntN(140) {
		m.Step(actions)
	}
	m.comeToRest()
	for _, c := range m.all {
		m.checkAtRest(c)
	}
	m.checkTimers()
	m.close()
}

// comeToRest ends what keeps anything from going on.
func (m *simulated) comeToRest() {
	m.Calm()
	m.resting = true
	for _, ln := range m.listeners {
		ln.Resume()
	}
	for _, c := range m.all {
		if c.conn != nil {
			m.resume(c)
		}
		c.Peer.SetWindow(1 << 16)
	}
	m.Rest(m.peersRead)
	if m.Lacking {
		m.timePassesBy(acceptPause)
		m.Rest(m.peersRead)
	}
}

// close ends the engine, whatever is under way: nothing is left, and each connection has had its OnClose.
func (m *simulated) close() {
	for range m.Rand.IntN(4) {
		m.connect()
	}
	done := make(chan struct{})
	m.Go(func() {
		defer close(done)
		if err := m.engine.Close(); err != nil {
			m.Wrong("%v", err)
		}
	})
	m.Finish(done, 10*time.Second, m.peersRead, "Engine.Close")
	m.Clean()
	for i := range m.engine.Loops() {
		if left := loop.Left(m.engine.Loop(i)); left != "" {
			m.Fatalf("loop %d: %s", i, left)
		}
	}
	for _, c := range m.all {
		if c.opened != c.closed {
			m.Fatalf("client %d: opened %v, closed %v", c.Number, c.opened, c.closed)
		}
	}
	if m.ran != m.posts {
		m.Fatalf("%d runners posted, %d run", m.posts, m.ran)
	}
}

// checkAtRest: nothing is on its way, so every byte that was sent has come.
func (m *simulated) checkAtRest(c *client) {
	if c.Gone {
		return
	}
	switch {
	case !c.opened:
		if !c.GotEnd {
			m.Fatalf("client %d is not served", c.Number)
		}
	case c.cut:
	case c.closing:
		if !c.GotEnd || c.got != c.written {
			m.Fatalf("client %d was closed in order: end %v, %d of %d bytes", c.Number, c.GotEnd, c.got, c.written)
		}
	default:
		if c.seen != c.Sent || c.got != c.written || c.conn.Queued() != 0 {
			m.Fatalf("client %d is stuck: %d of %d bytes seen, %d of %d answered, %d queued", c.Number, c.seen, c.Sent, c.got,
				c.written, c.conn.Queued())
		}
		if c.Finished && c.eofs != (c.ended && !c.closed) || c.Finished && !c.eofs && !(c.closed && c.GotEnd) {
			m.Fatalf("client %d has sent its end: told %v, closed %v, answered %v", c.Number, c.ended, c.closed, c.GotEnd)
		}
	}
}

func (m *simulated) find(conn *loop.Conn) *client {
	addr, _ := conn.RemoteAddr().(*net.TCPAddr)
	c := m.clients[addr.AddrPort()]
	if c == nil || c.conn != nil && c.conn != conn {
		m.Wrong("a connection of nobody: %v", addr)
		return new(client)
	}
	return c
}

func (m *simulated) callbacks() callbacks {
	return callbacks{
		open: func(conn *loop.Conn) {
			c := m.find(conn)
			m.Trace("client %d: open", c.Number)
			if c.opened {
				m.Wrong("client %d: OnOpen twice", c.Number)
			}
			c.opened, c.conn = true, conn
			if m.OneIn(8) {
				m.write(c, m.Size(3000))
			}
		},
		data: func(conn *loop.Conn, data []byte) {
			c := m.find(conn)
			m.Trace("client %d: %d bytes", c.Number, len(data))
			if !c.opened || c.closed || c.ended {
				m.Wrong("client %d: OnData at the wrong time", c.Number)
			}
			if place := c.Requests().Differs(data, c.seen); place >= 0 || c.seen+len(data) > c.Sent {
				m.Wrong("client %d: wrong byte at %d", c.Number, place)
			}
			c.seen += len(data)
			m.write(c, len(data))
			m.whim(c)
		},
		close: func(conn *loop.Conn, err error) {
			c := m.find(conn)
			m.Trace("client %d: close: %v", c.Number, err)
			if !c.opened || c.closed {
				m.Wrong("client %d: OnClose at the wrong time", c.Number)
			}
			c.closed, c.cause = true, err
			m.checkCause(c)
		},
	}
}

// checkCause: OnClose tells why.
func (m *simulated) checkCause(c *client) {
	switch {
	case c.cause == nil && (c.closing || c.cut):
	case c.cause == io.EOF && (c.Finished || c.Gone) && !c.eofs:
	case errors.Is(c.cause, loop.ErrEngineClosed):
	case c.Gone || c.GotEnd: // the kernel says that the peer is not there any more
	default:
		m.Wrong("client %d: closed because of %v", c.Number, c.cause)
	}
}

func (m *simulated) ended(conn *loop.Conn) {
	c := m.find(conn)
	m.Trace("client %d: end", c.Number)
	if !c.opened || c.closed || c.ended {
		m.Wrong("client %d: OnEOF at the wrong time", c.Number)
	}
	c.ended = true
	m.write(c, m.Size(5000)) // a late answer
	if m.OneIn(3) {
		m.closeConn(c)
	}
}

// whim is what handlers do besides.
func (m *simulated) whim(c *client) {
	if m.resting {
		return
	}
	switch m.Rand.IntN(40) {
	case 0:
		m.pause(c)
	case 1:
		m.closeConn(c)
	case 2:
		m.closeNow(c)
	case 3:
		m.post(c.conn.Loop())
	case 4:
		m.setTimer(c.conn.Loop())
	case 5:
		m.write(c, m.Size(300_000))
	}
}

// write is a Write of n bytes, from the handler or from elsewhere.
func (m *simulated) write(c *client, n int) {
	before := c.conn.Queued()
	taken, err := c.conn.Write(c.answers().Part(c.written, n))
	m.Trace("client %d: write %d: %v", c.Number, n, err)
	switch {
	case err == nil && taken == n:
		c.written += n
	case taken != 0:
		m.Wrong("client %d: Write took %d of %d: %v", c.Number, taken, n, err)
	case err == loop.ErrQueueFull && before > 0:
	case err == net.ErrClosed && (c.closing || c.cut || c.closed || c.Finished || c.Gone):
	default:
		m.Wrong("client %d: %v", c.Number, err)
	}
}

func (m *simulated) closeConn(c *client) {
	m.Trace("client %d: Close", c.Number)
	if err := c.conn.Close(); err == nil {
		c.closing = true
	}
}

func (m *simulated) closeNow(c *client) {
	m.Trace("client %d: CloseNow", c.Number)
	_ = c.conn.CloseNow()
	c.cut = true
}

func (m *simulated) pause(c *client) {
	m.Trace("client %d: pause", c.Number)
	c.conn.Pause()
}

func (m *simulated) resume(c *client) {
	m.Trace("client %d: resume", c.Number)
	c.conn.Resume()
}

// post checks that a runner runs, once, in the order of the posts to its loop.
func (m *simulated) post(l *loop.Loop) {
	m.posts++
	ran := false
	l.Post(runner(func() {
		if ran {
			m.Wrong("a runner runs twice")
		}
		ran = true
		m.ran++
	}))
}

// setTimer checks that a timer fires once, and not early.
func (m *simulated) setTimer(l *loop.Loop) {
	timer := new(loop.Timer)
	when := l.Now() + m.Rand.Int64N(int64(time.Second))
	m.timers = append(m.timers, when)
	l.Post(runner(func() {
		l.SetTimer(timer, when, runner(func() {
			m.Trace("timer")
			place := slices.Index(m.timers, when)
			if place < 0 || l.Now() < when {
				m.Wrong("timer: %v early, or fired twice", time.Duration(when-l.Now()))
				return
			}
			m.timers = slices.Delete(m.timers, place, place+1)
		}))
	}))
}

// checkTimers: each fires when it is due.
func (m *simulated) checkTimers() {
	for {
		now := m.engine.Loop(0).Now()
		for _, when := range m.timers {
			if when <= now {
				m.Fatalf("a timer has not fired, %v late", time.Duration(now-when))
			}
		}
		if len(m.timers) == 0 {
			return
		}
		m.Advance(time.Duration(slices.Min(m.timers) - now))
		m.Rest(m.peersRead)
	}
}

// actions are what clients, and goroutines of the program, do.
func (m *simulated) actions() []simtest.Action {
	pick := func() *simtest.Client {
		if len(m.all) == 0 {
			return nil
		}
		return m.all[m.Rand.IntN(len(m.all))].Client
	}
	conn := func(do func(*client)) func() {
		return func() {
			if len(m.all) == 0 {
				return
			}
			if c := m.all[m.Rand.IntN(len(m.all))]; c.conn != nil {
				do(c)
			}
		}
	}
	return append(m.Actions(pick), []simtest.Action{
		{Weight: 15, Do: m.connect},
		{Weight: 1, Do: m.crowd},
		{Weight: 15, Do: conn(func(c *client) { m.write(c, m.Size(5000)) })},
		{Weight: 3, Do: conn(m.closeConn)},
		{Weight: 3, Do: conn(m.closeNow)},
		{Weight: 4, Do: conn(m.pause)},
		{Weight: 6, Do: conn(m.resume)},
		{Weight: 4, Do: func() { m.post(m.anyLoop()) }},
		{Weight: 2, Do: func() { m.setTimer(m.anyLoop()) }},
		{Weight: 2, Do: func() { m.listeners[m.Rand.IntN(len(m.listeners))].Pause() }},
		{Weight: 3, Do: func() { m.listeners[m.Rand.IntN(len(m.listeners))].Resume() }},
		{Weight: 6, Do: m.timePasses},
	}...)
}

func (m *simulated) anyLoop() *loop.Loop { return m.engine.Loop(m.Rand.IntN(m.engine.Loops())) }

// timePasses may end the patience of a connection that is being closed.
func (m *simulated) timePasses() {
	d := m.Within(time.Second)
	if m.OneIn(10) {
		d = 6 * time.Second
	}
	m.timePassesBy(d)
}

func (m *simulated) timePassesBy(d time.Duration) {
	m.Advance(d)
	for _, c := range m.all {
		if c.closing || c.Finished {
			c.cut = true
		}
	}
}

func (m *simulated) connect() {
	which := m.Rand.IntN(len(m.listeners))
	c := &client{eofs: which == 1}
	c.Client = m.Connect(len(m.all)+1, m.listeners[which].Addr(), func(p []byte) { m.take(c, p) }, func(err error) {
		if c.opened && !c.cut && !c.Gone && c.got < c.written {
			m.Fatalf("client %d: %v, with %d of %d bytes", c.Number, err, c.got, c.written)
		}
		c.cut = true
	})
	m.clients[c.Peer.Addr()] = c
	m.all = append(m.all, c)
}

// crowd connects more clients at once than a listener accepts in one turn.
func (m *simulated) crowd() {
	if len(m.all) < 30 && m.OneIn(5) {
		for range 2 * 70 {
			m.connect()
		}
	}
}

// take checks what the peer has got.
func (m *simulated) take(c *client, p []byte) {
	if place := c.answers().Differs(p, c.got); place >= 0 || c.got+len(p) > c.written {
		m.Fatalf("client %d got a wrong byte at %d of %d", c.Number, place, c.written)
	}
	c.got += len(p)
}

// peersRead lets every peer take what has come, and reports whether there was anything.
func (m *simulated) peersRead() bool {
	any := false
	for _, c := range m.all {
		any = c.Read(m.buffer[:]) || any
	}
	return any
}
