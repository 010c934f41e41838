package coserver_test

import (
	"io"
	"log/slog"
	"net"
	"testing"

	"github.com/strand-net/strand/coserver"
)

// benchmarkEcho measures exchanges of 64 bytes over one connection, with a client on package net.
func benchmarkEcho(b *testing.B, carrier coserver.Carrier, handler func(*coserver.Conn) error) {
	server := &coserver.Server{Handler: handler, Carrier: carrier, Logger: slog.New(slog.DiscardHandler)}
	ln, err := server.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	defer func() {
		server.Close()
		<-served
	}()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	message := make([]byte, 64)
	message[63] = '\n'
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Write(message); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(client, message); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEcho(b *testing.B) {
	for _, carrier := range carriers {
		b.Run("carrier="+carrier.String()+"/call=Next", func(b *testing.B) { benchmarkEcho(b, carrier, echoNext) })
		b.Run("carrier="+carrier.String()+"/call=Read", func(b *testing.B) { benchmarkEcho(b, carrier, echoRead) })
		b.Run("carrier="+carrier.String()+"/call=ReadSlice", func(b *testing.B) { benchmarkEcho(b, carrier, echoLine) })
	}
}
