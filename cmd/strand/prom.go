package main

import (
	"fmt"
	"net"
	"net/http"
	"os"

	"github.com/strand-net/strand/bench/load"
	"github.com/strand-net/strand/bench/result"
	"github.com/strand-net/strand/bench/scrape"
)

// exporter tells Prometheus of a load while it runs. Of nil there is none.
type exporter struct {
	aside *aside
	told  *scrape.Exporter
}

// startExporter listens at an address. It returns nil for none.
func startExporter(addr string, o *load.Options) (*exporter, error) {
	if addr == "" {
		return nil, nil
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, usageError{fmt.Errorf("prom: %w", err)}
	}
	shard := o.Shard
	if shard.Of == 0 {
		shard = result.Shard{Index: 1, Of: 1}
	}
	e := &exporter{&aside{flag: "prom", listener: listener}, scrape.New(result.LogHeader{Run: o.ID, Shard: shard})}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", e.told)
	e.aside.serve(mux)
	fmt.Fprintf(os.Stderr, "metrics on http://%v/metrics\n", listener.Addr())
	return e, nil
}

func (e *exporter) publish(s load.Second, entries []result.Entry) {
	if e != nil {
		e.told.Publish(s.Interval, entries)
	}
}

// close ends it. It may be called again.
func (e *exporter) close() error {
	if e == nil {
		return nil
	}
	aside := e.aside
	e.aside = nil
	return aside.close()
}
