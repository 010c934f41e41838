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

	"github.com/strand-net/strand/coserver"
)

// maxBytes is the largest answer of GET /bytes.
const maxBytes = 1 << 30

// httpServer is net/http: on strand's listener, or on package net's.
type httpServer struct {
	engine   *coserver.Engine // nil with engine net
	listener net.Listener
	server   *http.Server
}

func listenHTTP(o Options) (Server, error) {
	// What net/http would log is what clients do, or panics of handlers that have none.
	s := &httpServer{server: &http.Server{Handler: newMux(), ErrorLog: log.New(io.Discard, "", 0), TLSConfig: o.TLS}}
	var err error
	if o.Engine == EngineNet {
		s.listener, err = net.Listen("tcp", o.Addr)
	} else if s.engine, err = coserver.NewEngine(o.engineConfig()); err == nil {
		s.listener, err = s.engine.Listen("tcp", o.Addr)
	}
	if err != nil {
		s.closeEngine()
		return nil, err
	}
	return s, nil
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
		part, err := w.Write(digits[:min(n, len(digits))])
		if err != nil {
			return
		}
		n -= part
	}
}

// digits is what the answers of GET /bytes consist of.
var digits = func() []byte {
	d := make([]byte, 40000) // whole rows of ten
	for i := range d {
		d[i] = '0' + byte(i%10)
	}
	return d
}()

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
	if err := serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
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
