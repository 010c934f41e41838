package coserver_test

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/coserver/frame"
)

// benchmarkEcho measures exchanges of 64 bytes over one connection, with a client on package net.
func benchmarkEcho(b *testing.B, carrier coserver.Carrier, handler func(*coserver.Conn) error) {
	message := make([]byte, 64)
	message[63] = '\n'
	benchmarkExchange(b, &coserver.Server{Handler: handler, Carrier: carrier}, message)
}

// benchmarkExchange measures exchanges of message over one connection, with a client on package net.
func benchmarkExchange(b *testing.B, server *coserver.Server, message []byte) {
	server.Logger = slog.New(slog.DiscardHandler)
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

// BenchmarkMessages measures what a message costs besides system calls, which many that come together share: the median of all batches,
// each from its first message to its last.
func BenchmarkMessages(b *testing.B) {
	const batch = 128
	framing := frame.LengthField{Size: 4}
	message, err := frame.Append(nil, framing, make([]byte, 60))
	if err != nil {
		b.Fatal(err)
	}
	for call, recv := range map[string]func(*coserver.Conn) ([]byte, error){
		"Recv":      (*coserver.Conn).Recv,
		"RecvSlice": (*coserver.Conn).RecvSlice,
	} {
		b.Run("call="+call, func(b *testing.B) {
			var times []time.Duration
			handler := func(c *coserver.Conn) error {
				for {
					var first time.Time
					for i := range batch {
						msg, err := recv(c)
						if err != nil {
							return err
						}
						switch i {
						case 0:
							first = time.Now()
						case batch - 1:
							times = append(times, time.Since(first))
						}
						if err := c.Send(msg); err != nil {
							return err
						}
					}
				}
			}
			benchmarkExchange(b, &coserver.Server{Handler: handler, Framing: framing}, bytes.Repeat(message, batch))
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2])/(batch-1), "ns/message")
		})
	}
}
