package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/strand-net/strand/coserver"
)

// maxBytes is the largest answer of GET /bytes.
const maxBytes = 1 << 30

// httpServer is net/http: on strand's listener, or on package net's.
type httpServer struct {
	engine   *coserver.Engine // nil with engine net
	listener net.Listener
	server   *http.Server
	retiring atomic.Bool // each answer is the last of its connection

	mu        sync.Mutex
	accepting bool      // one may be on its way into conns
	conns     int       // that net/http has
	idle      sync.Cond // broadcast when either changes
}

func listenHTTP(o Options) (Server, error) {
	// What net/http would log is what clients do, or panics of handlers that have none.
	s := &httpServer{server: &http.Server{ErrorLog: log.New(io.Discard, "", 0), TLSConfig: o.TLS}}
	s.server.Handler, s.server.ConnState, s.idle.L = s.lastAnswers(newMux()), s.count, &s.mu
	var err error
	if o.Engine == EngineNet {
		s.listener, err = o.listen()
	} else if s.engine, err = coserver.NewEngine(o.engineConfig()); err == nil {
		s.listener, err = s.listen(o)
	}
	if err != nil {
		o.closeListener()
		s.closeEngine()
		return nil, err
	}
	return s, nil
}

func (s *httpServer) listen(o Options) (net.Listener, error) {
	if o.Listener != nil {
		return s.engine.Adopt(o.Listener)
	}
	return s.engine.Listen("tcp", o.Addr)
}

// lastAnswers has each connection ended by an answer that says so, once the server retires: no client can have sent another
// request by then that it expects to be answered.
func (s *httpServer) lastAnswers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.retiring.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// count is told by net/http of the beginning and the end of connections.
func (s *httpServer) count(_ net.Conn, state http.ConnState) {
	change := 0
	switch state {
	case http.StateNew:
		change = 1
	case http.StateClosed, http.StateHijacked:
		change = -1
	default:
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns += change
	s.idle.Broadcast()
}

func newMux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello, world\n") })
	mux.HandleFunc("POST /echo", httpEcho)
	mux.HandleFunc("GET /bytes", httpBytes)
	return mux
}

// httpEcho reads while it writes. Without full duplex net/http drops what is unread of a body when the answer begins.
func httpEcho(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 {
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if r.ContentLength >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(r.ContentLength, 10))
	}
	if _, err := io.Copy(w, r.Body); err != nil {
		panic(http.ErrAbortHandler) // a short answer must not look whole
	}
}

func httpBytes(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.FormValue("n"))
	if err != nil || n < 0 || n > maxBytes {
		http.Error(w, fmt.Sprintf("n must be a number from 0 to %d", maxBytes), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(n))
	for n > 0 {
		part, err := w.Write(digits()[:min(n, len(digits()))])
		if err != nil {
			return
		}
		n -= part
	}
}

// digits is what the answers of GET /bytes consist of.
var digits = sync.OnceValue(func() []byte {
	d := make([]byte, 40000) // whole rows of ten
	for i := range d {
		d[i] = '0' + byte(i%10)
	}
	return d
})

func (s *httpServer) Addr() net.Addr { return s.listener.Addr() }

func (s *httpServer) Stats() Stats {
	if s.engine == nil {
		return Stats{}
	}
	engine := s.engine.Stats()
	return Stats{Engine: &engine}
}

func (s *httpServer) Serve() error {
	serve := s.server.Serve
	if s.server.TLSConfig != nil {
		serve = func(ln net.Listener) error { return s.server.ServeTLS(ln, "", "") } // with h2
	}
	s.setAccepting(true)
	defer s.setAccepting(false)
	if err := serve(s.listener); !errors.Is(err, http.ErrServerClosed) && !s.retiring.Load() {
		return err
	}
	return nil
}

func (s *httpServer) setAccepting(accepting bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepting = accepting
	s.idle.Broadcast()
}

func (s *httpServer) Retire(ctx context.Context) error {
	s.retiring.Store(true)
	if ln, ok := s.listener.(*coserver.Listener); ok {
		ln.Retire()
	} else {
		s.listener.Close()
	}
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.idle.Broadcast()
	})
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for (s.accepting || s.conns > 0) && ctx.Err() == nil {
		s.idle.Wait()
	}
	return ctx.Err()
}

func (s *httpServer) Shutdown(ctx context.Context) error {
	err := s.server.Shutdown(ctx)
	return errors.Join(err, s.Close())
}

func (s *httpServer) Close() error {
	err := s.server.Close()
	s.listener.Close() // the server knows it only once it serves
	s.closeEngine()
	return err
}

func (s *httpServer) closeEngine() {
	if s.engine != nil {
		s.engine.Close()
	}
}
