package loop_test

import (
	"io"
	"net"
	"testing"

	"github.com/strand-net/strand/loop"
)

// BenchmarkEcho measures exchanges of 64 bytes over one connection, with a client on package net.
func BenchmarkEcho(b *testing.B) {
	e, err := loop.NewEngine(loop.Config{Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	ln, err := e.Start("tcp", "127.0.0.1:0", loop.Service{Handler: callbacks{data: echo}})
	if err != nil {
		b.Fatal(err)
	}
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	message := make([]byte, 64)
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

// BenchmarkPost measures work that another goroutine gives to a loop.
func BenchmarkPost(b *testing.B) {
	e, err := loop.NewEngine(loop.Config{Loops: 1, Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	done := make(chan struct{})
	work := runner(func() { done <- struct{}{} })
	b.ReportAllocs()
	for b.Loop() {
		e.Loop(0).Post(work)
		<-done
	}
}
