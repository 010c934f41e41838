package coserver_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// hello is the beginning of a client's handshake: it makes the server wait for the rest.
const hello = "\x16\x03\x01\x02\x00\x01"

// crowdedHandshakes is a server of TLS that counts the handshakes under way, each of which takes a while.
func crowdedHandshakes(carrier coserver.Carrier, c *crowd) *coserver.Server {
	config := serverTLS()
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c.enter()
		defer c.leave()
		switch hello.ServerName {
		case "panic.test":
			panic(errTest)
		case "goexit.test":
			runtime.Goexit()
		case "block.test": // its loop goes on without it
			time.Sleep(3 * time.Millisecond)
			return nil, nil
		}
		return nil, coserver.Sleep(context.Background(), time.Millisecond)
	}
	return &coserver.Server{Handler: echoNext, Carrier: carrier, TLSConfig: config, OnError: func(*coserver.Conn, error) {}}
}

// There are never more handshakes under way than allowed, and each gives its turn to another, however it ends.
func TestMaxHandshakes(t *testing.T) {
	const most = 3
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		var c crowd
		s := crowdedHandshakes(carrier, &c)
		s.MaxHandshakes = most
		addr := start(t, s, "tcp")
		var all sync.WaitGroup
		for i := range 12 {
			all.Go(func() {
				for j := range 10 {
					raw, err := net.DialTimeout("tcp", addr.String(), patience)
					if !noError(t, err) {
						return
					}
					raw.SetDeadline(time.Now().Add(patience))
					switch (i + j) % 9 {
					case 0: // gives up in the middle
						io.WriteString(raw, hello)
					case 1: // the same, by a reset
						io.WriteString(raw, hello)
						raw.(*net.TCPConn).SetLinger(0)
					case 2: // is none of TLS
						io.WriteString(raw, "GET / HTTP/1.1\r\n\r\n")
						io.Copy(io.Discard, raw)
					case 3, 4: // meets a server that falls
						config := clientTLS()
						config.ServerName = []string{"panic.test", "goexit.test"}[(i+j)%9-3]
						if tls.Client(raw, config).Handshake() == nil {
							t.Error("the handshake has not failed")
						}
					default:
						config := clientTLS()
						if (i+j)%9 == 5 {
							config.ServerName, config.InsecureSkipVerify = "block.test", true
						}
						client := tls.Client(raw, config)
						if noError(t, client.Handshake()) {
							one := []byte("x")
							_, err := client.Write(one)
							noError(t, err)
							_, err = io.ReadFull(client, one)
							noError(t, err)
						}
					}
					raw.Close()
				}
			})
		}
		all.Wait()
		require.LessOrEqual(t, c.most.Load(), int64(most))
		require.Positive(t, s.Stats().HandshakeErrors)
		require.Positive(t, s.Stats().Panics)
		require.Zero(t, s.Stats().HandlerErrors)

		// Each turn is free again, and none more.
		for range most {
			_, err := io.WriteString(dial(t, addr), hello)
			require.NoError(t, err)
		}
		eventually(t, func() bool { busy, _ := coserver.Handshakes(s); return busy == most }, "a turn is lost")
		c.most.Store(0)
		next := tls.Client(dial(t, addr), clientTLS())
		done := make(chan error, 1)
		go func() { done <- next.Handshake() }()
		eventually(t, func() bool { _, waiting := coserver.Handshakes(s); return waiting == 1 }, "it does not wait")
		require.Zero(t, c.most.Load())
		require.NoError(t, s.Close())
		require.Error(t, receive(t, done))
	})
}

// A handshake that waits for its turn is served when another ends, in order, whatever else happens to those that wait.
func TestHandshakesTakeTurns(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		s := &coserver.Server{Handler: echoNext, Carrier: carrier, TLSConfig: serverTLS(), MaxHandshakes: 1, OnError: func(*coserver.Conn, error) {}}
		addr := start(t, s, "tcp")
		state := func(busy, waiting int) func() bool {
			return func() bool { b, w := coserver.Handshakes(s); return b == busy && w == waiting }
		}
		first := dial(t, addr)
		_, err := io.WriteString(first, hello)
		require.NoError(t, err)
		eventually(t, state(1, 0), "the first has no turn")
		var silent []net.Conn // they take no turn
		for range 10 {
			silent = append(silent, dial(t, addr))
		}
		leaver := dial(t, addr)
		_, err = io.WriteString(leaver, hello)
		require.NoError(t, err)
		eventually(t, state(1, 1), "the second does not wait")
		results := make(chan error, 3)
		for i := range cap(results) {
			client := tls.Client(dial(t, addr), clientTLS())
			go func() { results <- client.Handshake() }()
			eventually(t, state(1, 2+i), "one does not wait")
		}
		require.NoError(t, leaver.(*net.TCPConn).SetLinger(0))
		require.NoError(t, leaver.Close())
		require.Empty(t, results)
		require.NoError(t, first.Close())
		for range cap(results) {
			require.NoError(t, receive(t, results))
		}
		eventually(t, state(0, 0), "a turn is left")
		for _, c := range silent {
			c.Close()
		}
	})
}

// Who waits for a turn waits no longer than the time of a handshake.
func TestHandshakeTimeoutOfThoseThatWait(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		reported := make(chan error, 3)
		s := &coserver.Server{Handler: echoNext, Carrier: carrier, TLSConfig: serverTLS(), MaxHandshakes: 1,
			HandshakeTimeout: 50 * time.Millisecond, OnError: func(_ *coserver.Conn, err error) {
				select {
				case reported <- err:
				default: // of those that come afterwards
				}
			}}
		addr := start(t, s, "tcp")
		for range cap(reported) {
			_, err := io.WriteString(dial(t, addr), hello)
			require.NoError(t, err)
		}
		for range cap(reported) {
			require.ErrorIs(t, receive(t, reported), coserver.ErrHandshakeTimeout)
		}
		eventually(t, func() bool { return s.Stats().TimedOut.Handshake == 3 && s.Stats().Active == 0 }, "not all are cut")
		require.EqualValues(t, 3, s.Stats().HandshakeErrors)
		eventually(t, func() bool { // a slow machine may take longer than so short a time for a handshake in order
			c := tls.Client(dial(t, addr), clientTLS())
			if _, err := io.WriteString(c, "served"); err != nil {
				return false
			}
			_, err := io.ReadFull(c, make([]byte, len("served"))) // to the client the handshake may have been over while it was not to the server
			return err == nil
		}, "somebody is served")
	})
}

// StartTLS counts as well.
func TestMaxHandshakesOfStartTLS(t *testing.T) {
	var c crowd
	s := crowdedHandshakes(coserver.Auto, &c)
	config := s.TLSConfig
	s.TLSConfig, s.MaxHandshakes = nil, 2
	s.Handler = func(conn *coserver.Conn) error {
		if _, err := conn.ReadSlice('\n'); err != nil {
			return err
		}
		if err := conn.StartTLS(config); err != nil {
			return err
		}
		return echoNext(conn)
	}
	addr := start(t, s, "tcp")
	var all sync.WaitGroup
	for range 10 {
		raw := dial(t, addr)
		all.Go(func() {
			_, err := io.WriteString(raw, "STARTTLS\n")
			noError(t, err)
			noError(t, tls.Client(raw, clientTLS()).Handshake())
		})
	}
	all.Wait()
	require.LessOrEqual(t, c.most.Load(), int64(2))
}

// The timeouts of a server do not begin before the handshake is over, and then bytes of a record win no time.
func TestIdleTimeoutOfTLS(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		config := serverTLS()
		config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return nil, coserver.Sleep(context.Background(), 50*time.Millisecond)
		}
		s := &coserver.Server{Handler: echoNext, Carrier: carrier, TLSConfig: config, IdleTimeout: 100 * time.Millisecond, ReadTimeout: time.Nanosecond}
		addr := start(t, s, "tcp")
		slow := &slowConn{Conn: dial(t, addr)}
		c := tls.Client(slow, clientTLS())
		require.NoError(t, c.Handshake())
		slow.period = 10 * time.Millisecond
		var dripping sync.WaitGroup
		dripping.Go(func() { c.Write(make([]byte, 16<<10)) }) // one byte in a period: it would take minutes
		eventually(t, func() bool { return s.Stats().TimedOut == coserver.TimedOutStats{Idle: 1} }, "it is not cut")
		require.NoError(t, slow.Close())
		dripping.Wait()
	})
}

// slowConn writes a byte in a period.
type slowConn struct {
	net.Conn
	period time.Duration
}

func (c *slowConn) Write(p []byte) (int, error) {
	if c.period == 0 {
		return c.Conn.Write(p)
	}
	for i := range p {
		if _, err := c.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
		time.Sleep(c.period) // it is the slowness that is tested
	}
	return len(p), nil
}

// faults.md X3, X5: scans and handshakes that fail, as many as there are, leave nothing behind and fill no log.
func TestScansFillNoLog(t *testing.T) {
	const count = 300
	var log lockedBuffer
	s := &coserver.Server{Handler: echoNext, TLSConfig: serverTLS(), Logger: slog.New(slog.NewTextHandler(&log, nil))}
	addr := start(t, s, "tcp")
	begin := time.Now()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range count {
				c, err := net.DialTimeout("tcp", addr.String(), patience)
				if !noError(t, err) {
					return
				}
				c.SetDeadline(time.Now().Add(patience))
				switch i % 3 {
				case 0: // connect and reset
					c.(*net.TCPConn).SetLinger(0)
				case 1: // version scan
					io.WriteString(c, "\x00\x01version?\r\n\r\n")
					io.Copy(io.Discard, c)
				case 2: // begins and leaves
					io.WriteString(c, hello)
				}
				c.Close()
			}
		})
	}
	all.Wait()
	eventually(t, func() bool { return s.Stats().Active == 0 }, "a connection is left")
	lines := strings.Count(log.String(), "connection ended")
	require.Positive(t, lines)
	require.LessOrEqual(t, lines, 1+int(time.Since(begin)/time.Second))
	require.GreaterOrEqual(t, s.Stats().HandshakeErrors, uint64(8*count/3))
	exchange(t, dialTLS(t, addr, clientTLS()), "served")
}

// faults.md X5: handlers that fail, as many as there are and in whatever way, fill no log: a line of each kind in a second says how
// many it stands for.
func TestFailuresFillNoLog(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		var log lockedBuffer
		var c crowd
		s := crowded(carrier, &c)
		s.OnError, s.Logger = nil, slog.New(slog.NewTextHandler(&log, nil))
		addr := start(t, s, "tcp")
		begin := time.Now()
		for range 50 {
			for _, end := range "egp" { // an error, Goexit, a panic
				_, err := visitByte(addr, byte(end))
				require.NoError(t, err)
			}
		}
		eventually(t, func() bool { return s.Stats().Active == 0 }, "a connection is left")
		most := 1 + int(time.Since(begin)/time.Second)
		require.LessOrEqual(t, strings.Count(log.String(), "connection ended"), 2*most)
		require.Contains(t, log.String(), `error="test error"`)
		require.EqualValues(t, 50, s.Stats().HandlerErrors)
		require.EqualValues(t, 100, s.Stats().Panics)
	})
}

// lockedBuffer is a buffer that several goroutines may use.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
