package coserver

import (
	"iter"
	"math/rand/v2"
	"time"
)

// ID returns a number that no other connection of the engine has had or will have. It is not 0. Safe from any goroutine.
func (c *Conn) ID() uint64 { return c.sock.ID() }

// Age returns how long ago the connection was accepted, or began to be dialled. Safe from any goroutine.
func (c *Conn) Age() time.Duration { return c.sock.Age() }

// Conns returns the connections of the server whose handlers have not returned, or whose queues are not sent, in no order. They are those of the moment when the
// iteration begins: one that comes later is not among them, and one that is may have ended meanwhile, which its calls then
// say. The body of the loop may take its time, for nobody waits for it. Without a server that is started there are none. Safe from any
// goroutine.
func (s *Server) Conns() iter.Seq[*Conn] {
	return func(yield func(*Conn) bool) {
		r := s.current()
		if r == nil {
			return
		}
		conns := r.snapshot()
		if len(conns) == 0 {
			return
		}
		// Who sends to all, again and again, is not to serve the same one last each time.
		first := rand.IntN(len(conns))
		for _, part := range [...][]*Conn{conns[first:], conns[:first]} {
			for _, c := range part {
				if !yield(c) {
					return
				}
			}
		}
	}
}

// Conn returns the connection of the server with an ID, or nil if there is none any more: its handler has returned, and its queue is over. The first call
// makes an index, which is then kept for as long as the server runs, at some tens of bytes for each connection. Safe from any
// goroutine.
func (s *Server) Conn(id uint64) *Conn {
	r := s.current()
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byID == nil {
		r.byID = make(map[uint64]*Conn, r.count)
		for c := r.conns; c != nil; c = c.next {
			r.byID[c.ID()] = c
		}
	}
	return r.byID[id]
}

// snapshot returns the connections. The caller must not write to what it gets: the next caller may get the same.
func (r *run) snapshot() []*Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listed == nil && r.count > 0 {
		r.listed = make([]*Conn, 0, r.count)
		for c := r.conns; c != nil; c = c.next {
			r.listed = append(r.listed, c)
		}
	}
	return r.listed
}
