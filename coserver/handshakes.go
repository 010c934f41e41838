package coserver

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/strand-net/strand/loop"
)

// handshakes are those that a Server has under way, and those that wait for their turn, in order.
type handshakes struct {
	mu      sync.Mutex
	busy    int
	waiting []*handshakeTurn
}

// handshakeTurn is a connection's wait for its turn.
type handshakeTurn struct {
	conn  *Conn
	given atomic.Bool
}

// RunOnLoop wakes the connection, wherever it is on its way to wait: it looks whether the turn is given.
func (t *handshakeTurn) RunOnLoop() { t.conn.sock.Poke(loop.ReadSide) }

// begin takes a turn, waiting for one of most within the deadline of the connection. The caller must have the turn of the read
// side, and end it if begin has not failed.
func (h *handshakes) begin(c *Conn, most int) error {
	h.mu.Lock()
	if h.busy < most {
		h.busy++
		h.mu.Unlock()
		return nil
	}
	t := &handshakeTurn{conn: c}
	h.waiting = append(h.waiting, t)
	h.mu.Unlock()
	err := t.wait()
	c.sock.Reopen(loop.ReadSide) // what came meanwhile has not been read
	if err != nil {
		h.leave(t)
	}
	return err
}

func (t *handshakeTurn) wait() error {
	c := t.conn
	for {
		c.sock.Take(loop.ReadSide)
		if t.given.Load() {
			return nil
		}
		if err := c.expired(loop.ReadSide); err != nil {
			return err
		}
		if _, err := c.wait(loop.ReadSide); err != nil {
			return err
		}
	}
}

// leave gives up a turn that was waited for, or one that has just been given.
func (h *handshakes) leave(t *handshakeTurn) {
	h.mu.Lock()
	if i := slices.Index(h.waiting, t); i >= 0 {
		h.waiting = slices.Delete(h.waiting, i, i+1)
		h.mu.Unlock()
		return
	}
	h.mu.Unlock()
	h.end()
}

// end gives a turn to the next.
func (h *handshakes) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.waiting) == 0 {
		h.busy--
		return
	}
	t := h.waiting[0]
	h.waiting = slices.Delete(h.waiting, 0, 1)
	t.given.Store(true)
	t.conn.sock.Loop().Post(t)
}
