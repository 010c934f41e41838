package order

import (
	"bytes"
	"context"
	"net"
	"sync"

	"github.com/strand-net/strand/loop"
)

// Asynchronous serves the clients by the callbacks of package loop. They must not block, so each does its work on a goroutine of its
// own, and nothing orders these.
func Asynchronous(ctx context.Context, o Options) (*Report, error) {
	return o.run(ctx, StyleAsynchronous, func(r *run) (net.Addr, func(), error) {
		engine, err := loop.NewEngine(loop.Config{})
		if err != nil {
			return nil, nil, err
		}
		h := &callbacks{run: r}
		ln, err := engine.Start("tcp", "127.0.0.1:0", loop.Service{Handler: h})
		if err != nil {
			engine.Close()
			return nil, nil, err
		}
		return ln.Addr(), func() {
			r.await()
			engine.Close()
			h.work.Wait()
		}, nil
	})
}

type callbacks struct {
	*run
	work sync.WaitGroup // what the callbacks have begun
}

func (h *callbacks) OnOpen(c *loop.Conn) {
	who := h.client(c.RemoteAddr())
	h.note(who, Opened, "")
	h.enter()
	h.work.Go(func() {
		h.failed(h.with(func(s *session) error { return h.keep(s, who) }))
	})
}

func (h *callbacks) OnData(c *loop.Conn, data []byte) {
	who := h.client(c.RemoteAddr())
	for range bytes.Count(data, []byte("\n")) {
		h.note(who, Received, greeting)
		h.work.Go(func() {
			h.failed(h.with(func(s *session) error {
				answer, err := h.fetch(s, who)
				if err != nil {
					return err
				}
				_, err = c.Write(answer)
				return err
			}))
		})
	}
}

func (h *callbacks) OnClose(c *loop.Conn, _ error) {
	h.note(h.client(c.RemoteAddr()), Closed, "")
	h.leave()
}

// with does something with a session of its own, as the callbacks of the example do.
func (h *callbacks) with(do func(*session) error) error {
	s, err := h.store.open(h.ctx)
	if err != nil {
		return err
	}
	defer s.close()
	return do(s)
}
