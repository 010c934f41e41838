package order

import (
	"context"
	"io"
	"net"

	"github.com/strand-net/strand/coserver"
)

// Sequential serves each client with one handler of package coserver, from its first line to its last.
func Sequential(ctx context.Context, o Options) (*Report, error) {
	return o.run(ctx, StyleSequential, func(r *run) (net.Addr, func(), error) {
		server := &coserver.Server{Carrier: o.Carrier, Handler: func(c *coserver.Conn) error {
			r.enter()
			defer r.leave()
			return r.serve(c)
		}}
		server.OnError = func(_ *coserver.Conn, err error) { r.failed(err) }
		ln, err := server.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, err
		}
		served := make(chan error, 1)
		go func() { served <- server.Serve(ln) }()
		return ln.Addr(), func() {
			r.await()
			stopped, cancel := context.WithTimeout(r.ctx, limit)
			defer cancel()
			r.failed(server.Shutdown(stopped))
			<-served
		}, nil
	})
}

// serve is the handler: it cannot answer what it has not stored, for it has not read on until then.
func (r *run) serve(c *coserver.Conn) error {
	who := r.client(c.RemoteAddr())
	r.note(who, Opened, "")
	s, err := r.store.open(r.ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if err := r.keep(s, who); err != nil {
		return err
	}
	for {
		line, err := c.ReadLine(100)
		if err == io.EOF {
			r.note(who, Closed, "")
			return nil
		}
		if err != nil {
			return err
		}
		r.note(who, Received, string(line))
		answer, err := r.fetch(s, who)
		if err != nil {
			return err
		}
		if _, err := c.Write(answer); err != nil {
			return err
		}
	}
}
