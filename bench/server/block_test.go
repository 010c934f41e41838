package server_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/server"
)

// forever is longer than any test.
const forever = time.Hour

// blockers are options of servers whose handlers block, for each engine and carrier, by what they are.
func blockers() map[string]server.Options {
	return map[string]server.Options{
		"net":              {Engine: server.EngineNet, Proto: server.ProtoBlock},
		"coserver":         {Engine: server.EngineCoserver, Proto: server.ProtoBlock, TakeOverAfter: time.Millisecond},
		"coserver channel": {Engine: server.EngineCoserver, Proto: server.ProtoBlock, Carrier: server.CarrierChannel},
	}
}

// onEveryBlocker runs test for every kind of block with every one of blockers.
func onEveryBlocker(t *testing.T, test func(t *testing.T, o server.Options)) {
	for name, o := range blockers() {
		for _, kind := range server.Blocks() {
			t.Run(name+" "+kind, func(t *testing.T) {
				o := o
				o.Block.Kind = kind
				test(t, o)
			})
		}
	}
}

// Whoever blocks answers what an echo answers, and no sooner than it has to.
func TestBlock(t *testing.T) {
	onEveryBlocker(t, func(t *testing.T, o server.Options) {
		o.Block.For, o.Block.Share = 3*time.Millisecond, share(t, "100%")
		srv, _ := start(t, o)
		var group sync.WaitGroup
		for i := range 4 {
			conn := dial(t, srv)
			group.Go(func() {
				for _, text := range []string{"a", "no newline", strings.Repeat(fmt.Sprint(i), 20000), "end"} {
					began := time.Now()
					if err := echoes(conn, text); err != nil {
						t.Error(err)
						return
					}
					if took := time.Since(began); took < o.Block.For {
						t.Errorf("%d bytes have been answered after %v", len(text), took)
					}
				}
				if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
					t.Error(err)
				}
				if rest, err := io.ReadAll(conn); err != nil || len(rest) > 0 {
					t.Errorf("%d bytes more: %v", len(rest), err)
				}
			})
		}
		group.Wait()
	})
}

// echoes is exchange for any goroutine.
func echoes(conn net.Conn, text string) error {
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(conn, text)
		sent <- err
	}()
	back := make([]byte, len(text))
	if _, err := io.ReadFull(conn, back); err != nil {
		return err
	}
	if string(back) != text {
		return fmt.Errorf("%.100q came back of %.100q", back, text)
	}
	return <-sent
}

// Of a thousand connections that come at once exactly ten block; all others are answered while these do.
func TestBlockShare(t *testing.T) {
	const conns, blocked = 1000, 10
	for name, o := range blockers() {
		t.Run(name, func(t *testing.T) {
			o.Block = server.Block{Kind: server.BlockSleep, For: forever, Share: share(t, "1%")}
			srv, _ := start(t, o)
			answers := make(chan error, conns)
			for range conns {
				go func() {
					conn, err := net.Dial("tcp", srv.Addr().String())
					if err == nil {
						err = echoes(conn, "hello")
						conn.Close()
					}
					answers <- err
				}()
			}
			for range conns - blocked {
				require.NoError(t, <-answers)
			}
			require.Empty(t, answers)
			require.NoError(t, srv.Close())
			for range blocked {
				require.Error(t, <-answers)
			}
		})
	}
}

func TestBlockShareIsInTurn(t *testing.T) {
	for name, o := range blockers() {
		t.Run(name, func(t *testing.T) {
			o.Block = server.Block{Kind: server.BlockPark, For: 20 * time.Millisecond, Share: share(t, "25%")}
			srv, _ := start(t, o)
			for n := range 12 {
				began := time.Now()
				exchange(t, dial(t, srv), "one")
				if n%4 == 3 {
					require.GreaterOrEqual(t, time.Since(began), o.Block.For, "connection %d", n)
				}
			}
		})
	}
}

// With a share of none nobody blocks.
func TestBlockNone(t *testing.T) {
	for name, o := range blockers() {
		t.Run(name, func(t *testing.T) {
			o.Block = server.Block{Kind: server.BlockSleep, For: forever}
			srv, _ := start(t, o)
			for range 10 {
				exchange(t, dial(t, srv), "not held up")
			}
		})
	}
}

// everySecond runs a server, with one loop if it has any, on which every second connection blocks. It returns two: blocked, whose
// request the server has found, and other, which has been answered since.
func everySecond(t *testing.T, o server.Options) (srv server.Server, served <-chan error, other, blocked net.Conn) {
	o.Block.Share = share(t, "50%")
	if o.Engine == server.EngineCoserver {
		o.Loops = 1
	}
	srv, served = start(t, o)
	other = dial(t, srv)
	exchange(t, other, "before")
	blocked = dial(t, srv)
	_, err := io.WriteString(blocked, "blocks")
	require.NoError(t, err)
	if o.Engine == server.EngineNet {
		late := dial(t, srv)
		exchange(t, late, "accepted after blocked")
		require.NoError(t, late.Close())
	}
	for range 5 { // one iteration of a loop accepts blocked, and the next one finds what it has sent
		exchange(t, other, "meanwhile")
	}
	return srv, served, other, blocked
}

// A handler that blocks holds up nobody else on its loop, for the loop is taken over.
func TestBlockTakeOver(t *testing.T) {
	onEveryBlocker(t, func(t *testing.T, o server.Options) {
		o.Block.For = forever
		everySecond(t, o)
	})
}

// Without take-over everybody on the loop waits for who blocks, but for who parks.
func TestBlockWithoutTakeOver(t *testing.T) {
	for _, kind := range server.Blocks() {
		t.Run(kind, func(t *testing.T) {
			o := server.Options{Engine: server.EngineCoserver, Proto: server.ProtoBlock, Carrier: server.CarrierInline}
			o.Block.Kind, o.Block.For = kind, 50*time.Millisecond
			if kind == server.BlockPark {
				o.Block.For = forever
			}
			began := time.Now()
			everySecond(t, o)
			if kind != server.BlockPark {
				require.GreaterOrEqual(t, time.Since(began), o.Block.For)
			}
		})
	}
}

// A server that is closed, or has been patient for long enough, does not wait for who blocks.
func TestBlockEndsWithTheServer(t *testing.T) {
	onEveryBlocker(t, func(t *testing.T, o server.Options) {
		o.Block.For = forever
		srv, served, _, blocked := everySecond(t, o)
		ctx, cancel := context.WithCancel(t.Context())
		down := make(chan error, 1)
		go func() { down <- srv.Shutdown(ctx) }()
		requireRefused(t, srv)
		cancel()
		require.ErrorIs(t, <-down, context.Canceled)
		require.NoError(t, <-served)
		_, err := blocked.Read(make([]byte, 1))
		require.Error(t, err)
	})
}

// What blocks when a shutdown begins is answered.
func TestBlockShutdownWaits(t *testing.T) {
	onEveryBlocker(t, func(t *testing.T, o server.Options) {
		o.Block.For = 20 * time.Millisecond
		srv, served, other, blocked := everySecond(t, o)
		down := make(chan error, 1)
		go func() { down <- srv.Shutdown(context.Background()) }()
		back := make([]byte, len("blocks"))
		_, err := io.ReadFull(blocked, back)
		require.NoError(t, err)
		require.Equal(t, "blocks", string(back))
		require.NoError(t, other.Close())
		require.NoError(t, blocked.Close())
		require.NoError(t, <-down)
		require.NoError(t, <-served)
	})
}
