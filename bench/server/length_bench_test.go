package server_test

import (
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/strand-net/strand/bench/server"
)

// BenchmarkLength has 16 messages of 64 B in flight on each of several connections. An operation is a batch.
func BenchmarkLength(b *testing.B) {
	batch := strings.Repeat(string(binary.BigEndian.AppendUint32(nil, 60))+strings.Repeat("m", 60), 16)
	for _, engine := range []string{server.EngineNet, server.EngineCoserver} {
		b.Run(engine, func(b *testing.B) {
			srv, err := server.Listen(server.Options{Engine: engine, Proto: server.ProtoLength, Addr: "127.0.0.1:0"})
			if err != nil {
				b.Fatal(err)
			}
			served := make(chan error, 1)
			go func() { served <- srv.Serve() }()
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				conn, err := net.Dial("tcp", srv.Addr().String())
				if err != nil {
					b.Error(err)
					return
				}
				defer conn.Close()
				back := make([]byte, len(batch))
				for pb.Next() {
					if _, err := io.WriteString(conn, batch); err != nil {
						b.Error(err)
						return
					}
					if _, err := io.ReadFull(conn, back); err != nil {
						b.Error(err)
						return
					}
					if string(back) != batch {
						b.Error("something else came back")
						return
					}
				}
			})
			b.StopTimer()
			if err := srv.Close(); err != nil {
				b.Error(err)
			}
			if err := <-served; err != nil {
				b.Error(err)
			}
		})
	}
}
