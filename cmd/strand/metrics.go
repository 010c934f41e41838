package main

import (
	"errors"
	"expvar"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	goruntime "runtime/metrics"
	"time"

	"github.com/strand-net/strand/bench/server"
	"github.com/strand-net/strand/coserver/metrics"
	"github.com/strand-net/strand/coserver/upgrade"
)

const (
	// lagInterval is how often the lag of the loops is measured when there are metrics.
	lagInterval = 100 * time.Millisecond

	// metricsPatience is how long a client may take to send its request.
	metricsPatience = 10 * time.Second
)

// metricsServer tells of a server by HTTP, on package net: it answers whatever becomes of the engine that it tells of.
type metricsServer struct {
	listener net.Listener
	http     http.Server
	served   chan error
}

// listenMetrics binds addr, or takes the socket that was inherited for it. It returns nil for no address: nobody is told then, by
// the methods of nil. serve must be called next, or close.
func listenMetrics(u *upgrade.Upgrader, addr string) (*metricsServer, error) {
	if addr == "" {
		return nil, nil
	}
	listener, err := u.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return &metricsServer{listener: listener}, nil
}

func (m *metricsServer) serve(stats func() server.Stats) {
	if m == nil {
		return
	}
	expvar.Publish("strand", expvar.Func(func() any { return stats() }))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics.Handler(func() []metrics.Family { return families(stats()) }))
	mux.Handle("GET /debug/vars", expvar.Handler())
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	m.http = http.Server{Handler: mux, ReadHeaderTimeout: metricsPatience}
	m.served = make(chan error, 1)
	go func() { m.served <- m.http.Serve(m.listener) }()
}

// close ends it at once.
func (m *metricsServer) close() error {
	if m == nil {
		return nil
	}
	if m.served == nil {
		return m.listener.Close()
	}
	err := m.http.Close()
	if served := <-m.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("metrics: %w", served))
	}
	return err
}

// families are the figures of the server, as far as it has any, and of the Go runtime, in the names that client_golang gives those.
func families(stats server.Stats) (all []metrics.Family) {
	if stats.Server != nil {
		all = metrics.OfServer("strand", *stats.Server)
	}
	if stats.Engine != nil {
		all = append(all, metrics.OfEngine("strand", *stats.Engine)...)
	}
	samples := []goruntime.Sample{{Name: "/sched/goroutines:goroutines"}, {Name: "/memory/classes/heap/objects:bytes"}}
	goruntime.Read(samples)
	return append(all,
		metrics.Family{Name: "go_goroutines", Help: "Goroutines that exist.", Kind: metrics.Gauge, Samples: []metrics.Sample{{Value: float64(samples[0].Value.Uint64())}}},
		metrics.Family{Name: "go_memstats_heap_alloc_bytes", Help: "Bytes of heap objects.", Kind: metrics.Gauge, Samples: []metrics.Sample{{Value: float64(samples[1].Value.Uint64())}}},
	)
}
