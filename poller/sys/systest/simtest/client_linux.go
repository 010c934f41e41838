package simtest

import (
	"io"
	"net"

	"github.com/strand-net/strand/poller/sys/systest"
)

// Client is the other end of one of the engine's connections. What it sends is the stream of its number.
type Client struct {
	Number   int
	Peer     *systest.Peer
	Sent     int  // bytes
	Gone     bool // it has closed or reset the connection
	Finished bool // it has sent its end
	GotEnd   bool // it has got the end, or a reset

	sim   *Sim
	take  func([]byte) // checks what has come
	reset func(error)  // judges why a connection has failed
}

// Connect makes a client. take is called with what it gets, and reset if it gets an error.
func (s *Sim) Connect(number int, addr net.Addr, take func([]byte), reset func(error)) *Client {
	peer, err := s.Kernel.Client(addr)
	if err != nil {
		s.Fatalf("%v", err)
	}
	s.Trace("client %d connects", number)
	return &Client{Number: number, Peer: peer, sim: s, take: take, reset: reset}
}

// Requests is what the client sends.
func (c *Client) Requests() Stream { return Stream(2 * c.Number) }

// Write sends up to n bytes.
func (c *Client) Write(n int) {
	if c.Gone || c.Finished || c.GotEnd {
		return
	}
	n, err := c.Peer.Write(c.Requests().Part(c.Sent, n))
	c.sim.Trace("client %d: peer writes %d: %v", c.Number, n, err)
	c.Sent += n
	c.sees(err)
}

// Read reads into buffer, and reports whether anything has come.
func (c *Client) Read(buffer []byte) bool {
	if c.Gone || c.GotEnd {
		return false
	}
	n, err := c.Peer.Read(buffer)
	if n > 0 {
		c.sim.Trace("client %d: peer reads %d", c.Number, n)
	}
	c.take(buffer[:n])
	c.sees(err)
	return n > 0 || c.GotEnd
}

// sees is what the client learns of the connection.
func (c *Client) sees(err error) {
	switch {
	case err == nil || err == systest.ErrWouldBlock:
	case err == io.EOF:
		c.sim.Trace("client %d: peer sees the end", c.Number)
		c.GotEnd = true
	default:
		c.sim.Trace("client %d: peer sees %v", c.Number, err)
		c.reset(err)
		c.GotEnd = true
	}
}

// Finish sends the end.
func (c *Client) Finish() {
	if !c.Gone && !c.Finished && !c.GotEnd {
		c.sim.Trace("client %d: peer finishes", c.Number)
		c.Peer.CloseWrite()
		c.Finished = true
	}
}

// Leave closes the connection, or resets it.
func (c *Client) Leave(reset bool) {
	if c.Gone {
		return
	}
	c.Gone = true
	if reset {
		c.sim.Trace("client %d: peer resets", c.Number)
		c.Peer.Reset()
	} else {
		c.sim.Trace("client %d: peer closes", c.Number)
		c.Peer.Close()
	}
}

// Actions are what clients do: pick chooses one, or returns nil if there is none.
func (s *Sim) Actions(pick func() *Client) []Action {
	client := func(do func(*Client)) func() {
		return func() {
			if c := pick(); c != nil {
				do(c)
			}
		}
	}
	buffer := make([]byte, 10_000)
	return []Action{
		{Weight: 60, Do: client(func(c *Client) { c.Write(s.Size(5000)) })},
		{Weight: 3, Do: client(func(c *Client) { c.Write(s.Bulk()) })},
		{Weight: 40, Do: client(func(c *Client) { c.Read(buffer[:s.Size(len(buffer))]) })},
		{Weight: 6, Do: client((*Client).Finish)},
		{Weight: 2, Do: client(func(c *Client) { c.Leave(false) })},
		{Weight: 2, Do: client(func(c *Client) { c.Leave(true) })},
		{Weight: 8, Do: client(func(c *Client) { c.Peer.Urgent() })},
		{Weight: 2, Do: client(func(c *Client) { c.Peer.SetWindow(s.Rand.IntN(10_000)) })},
		{Weight: 1, Do: s.Kernel.SaturateEventfds},
	}
}
