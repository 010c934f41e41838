package main

import (
	"context"
	"net"

	"github.com/cloudwego/netpoll"
)

// The library reads its configuration when all init functions have run.
func init() {
	err := netpoll.Configure(netpoll.Config{Runner: func(_ context.Context, f func()) { go f() }})
	if err != nil {
		panic(err) // it says that a number is not possible, and there is none
	}
}

// serveNetpoll has the number of pollers that the library chooses, one for every 20 processors, as its documentation advises, and handlers on
// goroutines without gopool, which it says is best where stacks do not grow. Reading and writing are by its calls without copies.
func serveNetpoll(addr string, split splitter, listening func(net.Addr)) error {
	listener, err := netpoll.CreateListener("tcp", addr)
	if err != nil {
		return err
	}
	loop, err := netpoll.NewEventLoop(func(_ context.Context, conn netpoll.Connection) error {
		return answerNetpoll(conn, split)
	})
	if err != nil {
		return err
	}
	listening(listener.Addr())
	return loop.Serve(listener)
}

// answerNetpoll answers what is at hand. If that is no whole message, it waits for the rest: the library calls again at once for as long as
// anything has not been read.
func answerNetpoll(conn netpoll.Connection, split splitter) error {
	reader, writer := conn.Reader(), conn.Writer()
	need := 1
	for {
		buf, err := reader.Peek(max(need, reader.Len()))
		if err != nil {
			return conn.Close() // the peer's end
		}
		whole, more, tooLong := split(buf)
		if whole > 0 {
			if buf, err = reader.Next(whole); err != nil {
				return err
			}
			if _, err := writer.WriteBinary(buf); err != nil {
				return err
			}
			if err := writer.Flush(); err != nil {
				return conn.Close()
			}
			if err := reader.Release(); err != nil { // after Flush: what was written refers to it
				return err
			}
		}
		if tooLong != nil {
			return conn.Close()
		}
		if reader.Len() == 0 {
			return nil
		}
		need = more
	}
}
