package coserver_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

func TestEcho(t *testing.T) {
	handlers := map[string]func(*coserver.Conn) error{"Next": echoNext, "Read": echoRead, "ReadSlice": echoLine}
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		for _, network := range []string{"tcp", "tcp6", "unix"} {
			for name, handler := range handlers {
				t.Run(network+"/"+name, func(t *testing.T) {
					addr := start(t, &coserver.Server{Handler: handler, Carrier: carrier}, network)
					c := dial(t, addr)
					exchange(t, c, "hello\n")
					exchange(t, c, strings.Repeat("x", 10_000)+"\n")
					other := dial(t, addr)
					exchange(t, other, "other\n")
					exchange(t, c, "again\n")
				})
			}
		}
	})
}

// Many connections at once, each with its own stream of random pieces: every byte comes back in order to its sender.
func TestEchoStress(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		for name, handler := range map[string]func(*coserver.Conn) error{"Next": echoNext, "Read": echoRead, "ReadSlice": echoLine} {
			t.Run(name, func(t *testing.T) {
				addr := start(t, &coserver.Server{Handler: handler, Carrier: carrier}, "tcp")
				var clients sync.WaitGroup
				for i := range 16 {
					clients.Go(func() { streamThrough(t, addr, uint64(i), 128<<10) })
				}
				clients.Wait()
			})
		}
	})
}

// streamThrough sends size random bytes in random pieces and checks that they come back.
func streamThrough(t *testing.T, addr net.Addr, seed uint64, size int) {
	c, err := net.Dial(addr.Network(), addr.String())
	if !noError(t, err) {
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	random := rand.New(rand.NewPCG(seed, 1))
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(random.Uint32())
		if random.IntN(100) == 0 {
			data[i] = '\n'
		}
	}
	var writer sync.WaitGroup
	writer.Go(func() {
		for rest := data; len(rest) > 0; {
			n := min(len(rest), 1+random.IntN(5000))
			if _, err := c.Write(rest[:n]); !noError(t, err) {
				return
			}
			rest = rest[n:]
		}
		noError(t, c.(*net.TCPConn).CloseWrite())
	})
	back, err := io.ReadAll(c)
	writer.Wait()
	noError(t, err)
	if sha256.Sum256(back) != sha256.Sum256(data) {
		t.Errorf("seed %d: %d bytes came back, different from the %d sent", seed, len(back), len(data))
	}
}

// noError is require.NoError for goroutines that are not the test's.
func noError(t *testing.T, err error) bool {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
	return err == nil
}

// A handler is called before anything has arrived, and can speak first.
func TestServerSpeaksFirst(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			_, err := io.WriteString(c, "welcome")
			return err
		}}, "tcp")
		got, err := io.ReadAll(dial(t, addr))
		require.NoError(t, err)
		require.Equal(t, "welcome", string(got))
	})
}

// What was sent before the peer's end is read before io.EOF, and an answer to it still arrives.
func TestAnswerAfterEOF(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			all, err := io.ReadAll(c)
			if err != nil {
				return err
			}
			_, err = c.Write(bytes.ToUpper(all))
			return err
		}}, "tcp")
		c := dial(t, addr)
		message := strings.Repeat("half-close ", 20_000)
		_, err := io.WriteString(c, message)
		require.NoError(t, err)
		require.NoError(t, c.(*net.TCPConn).CloseWrite())
		answer, err := io.ReadAll(c)
		require.NoError(t, err)
		require.Equal(t, strings.ToUpper(message), string(answer))
	})
}

func TestReadSlice(t *testing.T) {
	type result struct {
		data string
		err  error
	}
	results := make(chan result, 10)
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			for {
				data, err := c.ReadSlice('\n')
				results <- result{string(data), err}
				if err != nil && err != bufio.ErrBufferFull {
					return err
				}
			}
		}}, "tcp")
		c := dial(t, addr)
		send := func(s string) {
			_, err := io.WriteString(c, s)
			require.NoError(t, err)
		}
		send("one\ntw")
		require.Equal(t, result{"one\n", nil}, receive(t, results))
		send("o\n\n")
		require.Equal(t, result{"two\n", nil}, receive(t, results))
		require.Equal(t, result{"\n", nil}, receive(t, results))
		long := strings.Repeat("l", 64<<10)
		send(long + "rest\n")
		require.Equal(t, result{long, bufio.ErrBufferFull}, receive(t, results))
		require.Equal(t, result{"rest\n", nil}, receive(t, results))
		send("tail")
		require.NoError(t, c.(*net.TCPConn).CloseWrite())
		require.Equal(t, result{"tail", io.EOF}, receive(t, results))
	})
}

// The reading calls share one buffer: what one leaves, the next gets.
func TestReadingCallsMix(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		got := make(chan string, 4)
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			line, err := c.ReadSlice('\n')
			if err != nil {
				return err
			}
			got <- string(line)
			four := make([]byte, 4)
			if _, err := io.ReadFull(c, four); err != nil {
				return err
			}
			got <- string(four)
			rest, err := c.Next()
			got <- string(rest)
			return err
		}}, "tcp")
		c := dial(t, addr)
		_, err := io.WriteString(c, "line\nfourrest")
		require.NoError(t, err)
		require.Equal(t, "line\n", receive(t, got))
		require.Equal(t, "four", receive(t, got))
		require.Equal(t, "rest", receive(t, got))
	})
}

// A peer that does not read makes the handler wait, and nobody else.
func TestSlowReader(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		engine := newEngine(t, coserver.EngineConfig{Loops: 1})
		const size = 16 << 20
		flood := start(t, &coserver.Server{Engine: engine, Carrier: carrier, Handler: func(c *coserver.Conn) error {
			n, err := c.Write(bytes.Repeat([]byte("flood"), size/5))
			if n != size/5*5 {
				t.Errorf("wrote %d bytes: %v", n, err)
			}
			return err
		}}, "tcp")
		echo := start(t, &coserver.Server{Engine: engine, Carrier: carrier, Handler: echoNext}, "tcp")
		slow := dial(t, flood)
		first := make([]byte, 10)
		_, err := io.ReadFull(slow, first)
		require.NoError(t, err)
		other := dial(t, echo)
		for range 100 {
			exchange(t, other, "not held up")
		}
		rest, err := io.ReadAll(slow)
		require.NoError(t, err)
		require.Equal(t, size/5*5, len(first)+len(rest))
	})
}

// One connection that never lets its handler wait does not starve the others of its loop.
func TestGreedyConnectionGivesWay(t *testing.T) {
	engine := newEngine(t, coserver.EngineConfig{Loops: 1})
	sink := start(t, &coserver.Server{Engine: engine, Carrier: coserver.Inline, Handler: func(c *coserver.Conn) error {
		for buffer := make([]byte, 1024); ; {
			if _, err := c.Read(buffer); err != nil {
				return err
			}
		}
	}}, "tcp")
	echo := start(t, &coserver.Server{Engine: engine, Carrier: coserver.Inline, Handler: echoNext}, "tcp")
	var senders sync.WaitGroup
	defer senders.Wait()
	for range 2 {
		c := dial(t, sink)
		defer c.Close()
		senders.Go(func() {
			for block := make([]byte, 1<<20); ; {
				if _, err := c.Write(block); err != nil {
					return
				}
			}
		})
	}
	c := dial(t, echo)
	for range 50 { // starved, it would not be served once
		exchange(t, c, "still served")
	}
}

// Writes of several goroutines are serialised: none is torn, and each goroutine's come in its order.
func TestConcurrentWriters(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		const writers, messages, size = 20, 50, 3000
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			var all sync.WaitGroup
			done := make(chan struct{})
			for w := range writers {
				all.Go(func() {
					for m := range messages {
						message := bytes.Repeat([]byte{byte(w)}, size)
						message[1] = byte(m)
						if _, err := c.Write(message); !noError(t, err) {
							return
						}
					}
				})
			}
			go func() { all.Wait(); close(done) }()
			_, err := c.Next() // the client says when it has everything
			<-done
			return err
		}}, "tcp")
		c := dial(t, addr)
		var next [writers]byte
		message := make([]byte, size)
		for range writers * messages {
			_, err := io.ReadFull(c, message)
			require.NoError(t, err)
			w := message[0]
			require.Equal(t, next[w], message[1], "writer %d", w)
			next[w]++
			require.Equal(t, bytes.Repeat([]byte{w}, size-2), message[2:])
		}
		_, err := io.WriteString(c, "thanks")
		require.NoError(t, err)
		expectEOF(t, c)
	})
}

// Any goroutine may do what the handler does, beside it.
func TestAnotherGoroutineServesToo(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			done := make(chan error, 1)
			go func() { done <- echoRead(c) }()
			err := echoRead(c)
			if otherErr := <-done; otherErr != io.EOF {
				t.Error(otherErr)
			}
			return err
		}}, "tcp")
		c := dial(t, addr)
		for range 200 {
			exchange(t, c, "one of the two answers")
		}
		require.NoError(t, c.(*net.TCPConn).CloseWrite())
		expectEOF(t, c)
	})
}

// A handler may use other connections of the engine: it parks there, too, and its loop goes on.
func TestHandlerUsesOtherConn(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		for _, loops := range []int{1, 2} {
			engine := newEngine(t, coserver.EngineConfig{Loops: loops})
			upstreams := make(chan *coserver.Conn, 1)
			release := make(chan struct{})
			upstream := start(t, &coserver.Server{Engine: engine, Carrier: coserver.Channel, Handler: func(c *coserver.Conn) error {
				upstreams <- c
				<-release
				return nil
			}}, "tcp")
			front := start(t, &coserver.Server{Engine: engine, Carrier: carrier, Handler: func(c *coserver.Conn) error {
				other := <-upstreams
				defer close(release)
				for {
					data, err := c.Next()
					if err != nil {
						return err
					}
					if _, err := other.Write(data); err != nil {
						return err
					}
					answer, err := other.Next()
					if err != nil {
						return err
					}
					if _, err := c.Write(answer); err != nil {
						return err
					}
				}
			}}, "tcp")
			far := dial(t, upstream)
			eventually(t, func() bool { return len(upstreams) == 1 }, "the upstream connection is there")
			near := dial(t, front)
			for range 50 {
				_, err := io.WriteString(near, "ping")
				require.NoError(t, err)
				buffer := make([]byte, 4)
				_, err = io.ReadFull(far, buffer)
				require.NoError(t, err)
				_, err = far.Write(bytes.ToUpper(buffer))
				require.NoError(t, err)
				_, err = io.ReadFull(near, buffer)
				require.NoError(t, err)
				require.Equal(t, "PING", string(buffer))
			}
			near.Close()
			expectEnd(t, far)
		}
	})
}

func TestCloseWakesWaiters(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		results := make(chan error, 3)
		conns := make(chan *coserver.Conn, 1)
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			conns <- c
			written := make(chan struct{})
			go func() {
				defer close(written)
				for block := make([]byte, 1<<20); ; {
					if _, err := c.Write(block); err != nil {
						results <- err
						return
					}
				}
			}()
			go func() { // queues for the turn of the read side, or has it
				_, err := c.Read(make([]byte, 1))
				results <- err
			}()
			_, err := c.Read(make([]byte, 1))
			results <- err
			return err
		}}, "tcp")
		client := dial(t, addr)
		c := receive(t, conns)
		_, err := io.ReadFull(client, make([]byte, 100_000)) // the writer is at work, and soon waits
		require.NoError(t, err)
		require.NoError(t, c.Close())
		for range 3 {
			require.ErrorIs(t, receive(t, results), net.ErrClosed)
		}
		require.ErrorIs(t, c.Close(), net.ErrClosed)
		_, err = c.Write([]byte("late"))
		require.ErrorIs(t, err, net.ErrClosed)
		var opError *net.OpError
		require.ErrorAs(t, err, &opError)
		require.Equal(t, "write", opError.Op)
		require.Equal(t, "tcp", opError.Net)
	})
}

// Closing from many sides at once closes once; faults.md L6.
func TestCloseRace(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			var closers sync.WaitGroup
			for range 4 {
				closers.Go(func() { c.Close() })
			}
			_, err := c.Next()
			done := make(chan struct{})
			go func() { closers.Wait(); close(done) }()
			<-done
			return err
		}}, "tcp")
		for range 200 {
			c, err := net.Dial("tcp", addr.String())
			require.NoError(t, err)
			c.(*net.TCPConn).SetLinger(0)
			c.Write([]byte("x"))
			c.Close()
		}
	})
}

func TestAddresses(t *testing.T) {
	for _, network := range []string{"tcp", "tcp6", "unix"} {
		t.Run(network, func(t *testing.T) {
			conns := make(chan *coserver.Conn, 1)
			addr := start(t, &coserver.Server{Handler: func(c *coserver.Conn) error {
				conns <- c
				return nil
			}}, network)
			client := dial(t, addr)
			expectEOF(t, client)
			c := receive(t, conns) // closed by now, or soon: the addresses stay
			require.Equal(t, client.RemoteAddr().String(), c.LocalAddr().String())
			if network != "unix" {
				require.Equal(t, client.LocalAddr().String(), c.RemoteAddr().String())
			} else {
				require.Equal(t, "unix", c.RemoteAddr().Network())
			}
		})
	}
	t.Run("unspecified", func(t *testing.T) {
		addrs := make(chan net.Addr, 1)
		s := &coserver.Server{Handler: func(c *coserver.Conn) error {
			addrs <- c.LocalAddr()
			return nil
		}}
		ln, err := s.Listen("tcp", ":0")
		require.NoError(t, err)
		go s.Serve(ln)
		defer s.Close()
		port := ln.Addr().(*net.TCPAddr).Port
		client, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		require.NoError(t, err)
		defer client.Close()
		require.Equal(t, client.RemoteAddr().String(), receive(t, addrs).String())
	})
}
