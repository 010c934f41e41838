package main

import (
	"expvar"
	"net/http"
	"net/http/pprof"
	goruntime "runtime/metrics"
	"time"

	"github.com/strand-net/strand/bench/server"
	"github.com/strand-net/strand/coserver/metrics"
)

// lagInterval is how often the lag of the loops is measured when there are metrics.
const lagInterval = 100 * time.Millisecond

// metricsHandler answers with what there is to know of a server, in several ways.
func metricsHandler(stats func() server.Stats) http.Handler {
	expvar.Publish("strand", expvar.Func(func() any { return stats() }))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics.Handler(func() []metrics.Family { return families(stats()) }))
	mux.Handle("GET /debug/vars", expvar.Handler())
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
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
