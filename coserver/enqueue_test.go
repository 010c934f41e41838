package coserver_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

// kept is a server whose handlers give their connections to the test, and return when the client sends its end.
func kept(t *testing.T, s *coserver.Server, network string) (net.Addr, <-chan *coserver.Conn) {
	conns := make(chan *coserver.Conn, 2000)
	s.Handler = func(c *coserver.Conn) error {
		conns <- c
		_, err := io.Copy(io.Discard, c)
		return err
	}
	return start(t, s, network), conns
}

// narrow makes the kernel's buffers small on both ends, so that a peer that does not read is noticed soon.
func narrow(t *testing.T, c *coserver.Conn, client net.Conn) {
	t.Helper()
	require.NoError(t, c.SetWriteBuffer(16<<10))
	require.NoError(t, client.(interface{ SetReadBuffer(int) error }).SetReadBuffer(64<<10))
}

// stall enqueues on a connection whose peer does not read, until the queue waits for room and gets none, and returns how many bytes it
// was.
func stall(t *testing.T, c *coserver.Conn, block []byte) (total int) {
	t.Helper()
	since := time.Now()
	require.Eventually(t, func() bool {
		if coserver.QueueWaits(c) {
			return time.Since(since) > 300*time.Millisecond // the peer's kernel may take its time with an answer, and over package net whoever writes
		}
		for since = time.Now(); c.Queued() < 4*len(block) && !coserver.QueueWaits(c); {
			if err := c.Enqueue(block); err != nil {
				t.Error(err)
				return true
			}
			total += len(block)
		}
		return false
	}, patience, time.Millisecond, "the peer's buffers are full")
	return total
}

// What is enqueued, written, gathered and sent in several buffers arrives in the order of the calls, on every kind of connection.
func TestEnqueue(t *testing.T) {
	talk := func(c *coserver.Conn) error {
		if _, err := c.ReadSlice('\n'); err != nil { // there is a second line at hand: what is written is gathered
			return err
		}
		m := coserver.NewMessage([]byte("shared "))
		for i := range 3 {
			_, err := fmt.Fprintf(c, "write %d ", i)
			err = errors.Join(err, c.Enqueue(fmt.Appendf(nil, "enqueue %d ", i)), c.EnqueueMessage(m))
			_, vErr := c.Writev([][]byte{[]byte("by "), []byte("parts ")})
			if err = errors.Join(err, vErr, c.Enqueue(nil), c.EnqueueMessage(m)); err != nil {
				return err
			}
		}
		_, err := c.Next()
		return err // there is something queued
	}
	want := ""
	for i := range 3 {
		want += fmt.Sprintf("write %d enqueue %d shared by parts shared ", i, i)
	}
	check := func(t *testing.T, client net.Conn) {
		_, err := io.WriteString(client, "first\nsecond\n")
		require.NoError(t, err)
		got, err := io.ReadAll(client)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(network, func(t *testing.T) {
				check(t, dial(t, start(t, &coserver.Server{Handler: talk, Carrier: carrier}, network)))
			})
		}
		t.Run("tls", func(t *testing.T) {
			check(t, dialTLS(t, start(t, &coserver.Server{Handler: talk, Carrier: carrier, TLSConfig: serverTLS()}, "tcp"), clientTLS()))
		})
	})
	t.Run("accepted", func(t *testing.T) {
		leak.Check(t)
		ln, err := coserver.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer ln.Close()
		client := dial(t, ln.Addr())
		c, err := ln.Accept()
		require.NoError(t, err)
		served := make(chan error, 1)
		go func() {
			err := talk(c.(*coserver.Conn))
			served <- errors.Join(err, c.Close())
		}()
		check(t, client)
		require.NoError(t, receive(t, served))
	})
	t.Run("dialled", func(t *testing.T) {
		leak.Check(t)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer ln.Close()
		c, err := coserver.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		peer, err := ln.Accept()
		require.NoError(t, err)
		defer peer.Close()
		served := make(chan error, 1)
		go func() {
			err := talk(c.(*coserver.Conn))
			served <- errors.Join(err, c.Close())
		}()
		check(t, peer)
		require.NoError(t, receive(t, served))
	})
}

// frameOf is one message of a random script: who sent it, its number and its length, and bytes that follow from these.
func frameOf(sender, number, size int) []byte {
	f := make([]byte, 12+size)
	binary.BigEndian.PutUint32(f, uint32(sender))
	binary.BigEndian.PutUint32(f[4:], uint32(number))
	binary.BigEndian.PutUint32(f[8:], uint32(size))
	for i := range size {
		f[12+i] = byte(sender*31 + number*7 + i)
	}
	return f
}

// readFrames reads such messages until the end, and fails the test if one is torn, or one sender's are not in order. It calls seen for
// each.
func readFrames(t *testing.T, r io.Reader, seen func(sender, number int)) error {
	header := make([]byte, 12)
	for {
		if _, err := io.ReadFull(r, header); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		sender, number, size := binary.BigEndian.Uint32(header), binary.BigEndian.Uint32(header[4:]), binary.BigEndian.Uint32(header[8:])
		if sender > 100 || size > 1<<20 {
			t.Errorf("a message is torn: % x", header)
			return nil
		}
		f := make([]byte, size)
		if _, err := io.ReadFull(r, f); err != nil {
			return err
		}
		if !bytes.Equal(f, frameOf(int(sender), int(number), int(size))[12:]) {
			t.Errorf("message %d of sender %d has other bytes", number, sender)
			return nil
		}
		seen(int(sender), int(number))
	}
}

// Several goroutines, the handler among them, send by all calls that there are, at random, to a peer that reads slowly: every
// message arrives whole and once, each sender's in order.
func TestRandomSenders(t *testing.T) {
	const senders, messages = 6, 150
	for _, secure := range []bool{false, true} {
		onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
			t.Run(fmt.Sprintf("tls %v", secure), func(t *testing.T) {
				seed := rand.Uint64() >> 32
				send := func(c *coserver.Conn, sender int) error {
					random := rand.New(rand.NewPCG(seed, uint64(sender)))
					for number := range messages {
						size := random.IntN(300)
						if random.IntN(20) == 0 {
							size = random.IntN(100_000)
						}
						f := frameOf(sender, number, size)
						var err error
						call := random.IntN(5)
						if sender%2 == 1 {
							call = 2 + random.IntN(2) // these never wait
						}
						if call == 4 && len(f) > 64<<10 {
							call = 0 // ReadFrom would make two Writes of it
						}
						switch call {
						case 0:
							_, err = c.Write(f)
						case 1:
							_, err = c.Writev([][]byte{f[:5], f[5:]})
						case 2:
							if err = c.Enqueue(f); err == nil && random.IntN(20) == 0 {
								err = c.Flush()
							}
							clear(f) // it was copied
						case 3:
							err = c.EnqueueMessage(coserver.NewMessage(f))
						case 4:
							_, err = c.ReadFrom(bytes.NewReader(f)) // one Write
						}
						if errors.Is(err, coserver.ErrQueueFull) {
							if _, err = c.Write(frameOf(sender, number, size)); err != nil {
								return err
							}
							continue
						}
						if err != nil {
							return err
						}
					}
					return nil
				}
				s := &coserver.Server{Carrier: carrier, MaxQueued: 300_000, Handler: func(c *coserver.Conn) error {
					if err := c.SetWriteBuffer(16 << 10); err != nil {
						return err
					}
					var group sync.WaitGroup
					for sender := 1; sender < senders; sender++ {
						group.Go(func() { noError(t, send(c, sender)) })
					}
					if _, err := c.ReadSlice('\n'); err != nil { // with a second one at hand
						return err
					}
					if err := send(c, 0); err != nil {
						return err
					}
					var done coserver.Group
					done.Offload(func() error { group.Wait(); return nil })
					return done.Wait()
				}}
				if secure {
					s.TLSConfig = serverTLS()
				}
				addr := start(t, s, "tcp")
				client := dial(t, addr)
				require.NoError(t, client.(*net.TCPConn).SetReadBuffer(64<<10))
				if secure {
					c := tls.Client(client, clientTLS())
					require.NoError(t, c.Handshake())
					client = c
				}
				_, err := io.WriteString(client, "go\non\n")
				require.NoError(t, err)
				var next [senders]int
				err = readFrames(t, &reluctant{r: client, rand: rand.New(rand.NewPCG(seed, 99))}, func(sender, number int) {
					if number != next[sender] {
						t.Errorf("seed %d: message %d of sender %d instead of %d", seed, number, sender, next[sender])
					}
					next[sender] = number + 1
				})
				require.NoError(t, err, "seed %d", seed)
				for sender, n := range next {
					require.Equal(t, messages, n, "seed %d: sender %d", seed, sender)
				}
				eventually(t, func() bool { return s.Stats().Queues.Queued == 0 }, "nothing is queued")
				require.Zero(t, s.Stats().Queues.Lost)
			})
		})
	}
}

// reluctant reads little at a time, and rests now and then.
type reluctant struct {
	r    io.Reader
	rand *rand.Rand
}

func (r *reluctant) Read(p []byte) (int, error) {
	if r.rand.IntN(100) == 0 {
		time.Sleep(time.Duration(r.rand.IntN(1000)) * time.Microsecond) // the slowness itself
	}
	return r.r.Read(p[:min(len(p), 1+r.rand.IntN(4000))])
}

// A Write waits for what was enqueued before it, and what is enqueued while it waits comes after it; Flush waits for all.
func TestQueueStandsInLine(t *testing.T) {
	s := &coserver.Server{MaxQueued: 64 << 20}
	addr, conns := kept(t, s, "tcp")
	client := dial(t, addr)
	c := receive(t, conns)
	narrow(t, c, client)
	block := bytes.Repeat([]byte("."), 100_000)
	stalled := stall(t, c, block)
	written, flushed := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := c.Write([]byte("written "))
		written <- err
	}()
	eventually(t, func() bool { return coserver.InLine(c) == 1 }, "the Write is in line")
	require.NoError(t, c.Enqueue([]byte("enqueued later ")))
	go func() { flushed <- c.Flush() }()
	eventually(t, func() bool { return coserver.InLine(c) == 3 }, "all are in line")
	require.NoError(t, c.Enqueue([]byte("and last")))
	require.Empty(t, written)
	require.Empty(t, flushed)
	want := strings.Repeat(".", stalled) + "written enqueued later and last"
	got := make([]byte, len(want))
	_, err := io.ReadFull(client, got)
	require.NoError(t, err)
	require.Equal(t, want, string(got))
	require.NoError(t, receive(t, written))
	require.NoError(t, receive(t, flushed))
	eventually(t, func() bool { return !coserver.HasQueue(c) }, "an idle connection has no queue")
}

// Enqueue fails as Write does when there is nothing to be sent any more, and changes nothing then.
func TestEnqueueFails(t *testing.T) {
	s := &coserver.Server{}
	addr, conns := kept(t, s, "tcp")
	open := func() (*coserver.Conn, net.Conn) {
		client := dial(t, addr)
		return receive(t, conns), client
	}
	c, client := open()
	require.NoError(t, c.SetWriteDeadline(time.Now().Add(-time.Second)))
	err := c.Enqueue([]byte("late"))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	var opError *net.OpError
	require.ErrorAs(t, err, &opError)
	require.Equal(t, "write", opError.Op)
	require.NoError(t, c.SetWriteDeadline(time.Time{}))
	require.NoError(t, c.Enqueue([]byte("in time")))
	got := make([]byte, 7)
	_, err = io.ReadFull(client, got)
	require.NoError(t, err)
	require.Equal(t, "in time", string(got))

	require.NoError(t, c.CloseWrite())
	require.ErrorContains(t, c.Enqueue([]byte("x")), "broken pipe")
	require.NoError(t, c.Close())
	for _, err := range []error{c.Enqueue([]byte("x")), c.Enqueue(nil), c.EnqueueMessage(coserver.NewMessage([]byte("x"))), c.Flush()} {
		require.ErrorIs(t, err, net.ErrClosed)
		require.ErrorAs(t, err, &opError)
		require.Equal(t, "write", opError.Op)
	}
	require.Zero(t, c.Queued())
	expectEOF(t, client)

	c, client = open()
	require.NoError(t, client.(*net.TCPConn).SetLinger(0))
	require.NoError(t, client.Close())
	eventually(t, func() bool {
		err = c.Enqueue([]byte("nobody"))
		return err != nil
	}, "the reset shows")
	require.NotErrorIs(t, err, coserver.ErrQueueFull)
}

// A peer that resets the connection has all that is queued dropped, and counted.
func TestResetWithAQueue(t *testing.T) {
	for _, reads := range []bool{true, false} {
		t.Run(fmt.Sprintf("the handler reads %v", reads), func(t *testing.T) {
			conns := make(chan *coserver.Conn, 1)
			over := make(chan struct{})
			s := &coserver.Server{MaxQueued: 8 << 20, Handler: func(c *coserver.Conn) error {
				conns <- c
				if reads {
					_, err := c.Next()
					return err
				}
				<-over
				return nil
			}}
			addr := start(t, s, "tcp")
			defer close(over)
			client := dial(t, addr)
			c := receive(t, conns)
			narrow(t, c, client)
			stall(t, c, make([]byte, 10_000))
			require.NoError(t, client.(*net.TCPConn).SetLinger(0))
			require.NoError(t, client.Close())
			eventually(t, func() bool { return s.Stats().Queues.Queued == 0 }, "the queue is gone")
			require.NotZero(t, s.Stats().Queues.Lost)
			require.Error(t, c.Enqueue([]byte("x")))
			require.Zero(t, c.Queued())
		})
	}
}

// While a handler blocks or computes, on its own goroutine or on one that its loop has left it with, what others enqueue is sent.
func TestEnqueueBesideABusyHandler(t *testing.T) {
	for _, carrier := range []coserver.Carrier{coserver.Auto, coserver.Inline, coserver.Channel} {
		t.Run(carrier.String(), func(t *testing.T) {
			conns := make(chan *coserver.Conn, 1)
			until := make(chan struct{})
			addr := start(t, &coserver.Server{Engine: oneLoop(t), Carrier: carrier, Handler: func(c *coserver.Conn) error {
				for range 2 {
					line, err := c.ReadSlice('\n')
					if err != nil {
						return err
					}
					if _, err := c.Write(line); err != nil { // the first is gathered
						return err
					}
					if string(line) == "one\n" {
						conns <- c
						<-until
					}
				}
				return nil
			}}, "tcp")
			client := dial(t, addr)
			_, err := io.WriteString(client, "one\ntwo\n")
			require.NoError(t, err)
			c := receive(t, conns)
			expect := func(want string) {
				got := make([]byte, len(want))
				_, err := io.ReadFull(client, got)
				require.NoError(t, err)
				require.Equal(t, want, string(got))
			}
			require.NoError(t, c.Enqueue([]byte("from elsewhere\n")))
			expect("one\nfrom elsewhere\n")
			require.NoError(t, c.Enqueue([]byte("again\n")))
			expect("again\n")
			close(until)
			expect("two\n")
			expectEOF(t, client)
		})
	}
}

// What is enqueued while a handshake goes on waits for it, and is never sent in plain text, also if the handshake fails.
func TestEnqueueDuringAHandshake(t *testing.T) {
	conns := make(chan *coserver.Conn, 1)
	addr := start(t, &coserver.Server{Handler: func(c *coserver.Conn) error {
		conns <- c
		if err := c.StartTLS(serverTLS()); err != nil {
			return err
		}
		_, err := c.Next()
		return err
	}, OnError: func(*coserver.Conn, error) {}}, "tcp")
	client := dial(t, addr)
	c := receive(t, conns)
	eventually(t, func() bool { return coserver.Writing(c) }, "the handshake goes on")
	require.NoError(t, c.Enqueue([]byte("secret")))
	secured := tls.Client(client, clientTLS())
	got := make([]byte, 6)
	_, err := io.ReadFull(secured, got)
	require.NoError(t, err)
	require.Equal(t, "secret", string(got))

	client = dial(t, addr)
	c = receive(t, conns)
	eventually(t, func() bool { return coserver.Writing(c) }, "the handshake goes on")
	require.NoError(t, c.Enqueue([]byte("secret")))
	_, err = io.WriteString(client, "this is no handshake")
	require.NoError(t, err)
	all, _ := io.ReadAll(client) // it may end in a reset
	require.NotContains(t, string(all), "secret")
}

// TLS that ends with something queued ends in order: all of it comes, and then the end, however soon after each other.
func TestTLSEndsAfterAQueue(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		content := randomBytes(6, 3<<20)
		s := &coserver.Server{Carrier: carrier, TLSConfig: serverTLS(), MaxQueued: 4 << 20, Handler: func(c *coserver.Conn) error {
			line, err := c.ReadSlice('\n')
			if err != nil {
				return err
			}
			if string(line) == "much\n" {
				return c.Enqueue(content)
			}
			return c.Enqueue(line)
		}}
		addr := start(t, s, "tcp")
		ask := func(line string) []byte {
			c := dialTLS(t, addr, clientTLS())
			_, err := io.WriteString(c, line)
			require.NoError(t, err)
			got, err := io.ReadAll(c) // which tells a cut from an end
			require.NoError(t, err)
			require.NoError(t, c.Close())
			return got
		}
		require.True(t, bytes.Equal(content, ask("much\n")))
		for range 30 {
			require.Equal(t, "little\n", string(ask("little\n")))
		}
		require.Zero(t, s.Stats().Queues.Lost)
	})
}

// readsOverTLS serves one client over TLS, with a handler that reads once, on an engine of one loop; failed gets what the read says.
func readsOverTLS(t *testing.T, carrier coserver.Carrier) (engine *coserver.Engine, c *coserver.Conn, client net.Conn, secured *tls.Conn,
	failed chan error) {
	t.Helper()
	conns, until := make(chan *coserver.Conn, 1), make(chan struct{})
	failed = make(chan error, 1)
	engine = newEngine(t, coserver.EngineConfig{Loops: 1})
	addr := start(t, &coserver.Server{Engine: engine, Carrier: carrier, TLSConfig: serverTLS(), Handler: func(c *coserver.Conn) error {
		conns <- c
		_, err := c.Next()
		failed <- err
		<-until
		return nil
	}}, "tcp")
	t.Cleanup(func() { close(until) })
	client = dial(t, addr)
	secured = tls.Client(client, clientTLS())
	require.NoError(t, secured.Handshake())
	c = receive(t, conns)
	narrow(t, c, client)
	return engine, c, client, secured, failed
}

// undecipherable is a record of TLS that is answered by an alert.
const undecipherable = "\x17\x03\x03\x00\x20 this cannot be decrypted at all......"

// A handler that reads does not wait for the queue, also if TLS has something to say because of what it reads.
func TestReadingDoesNotWaitForTheQueue(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		_, c, client, secured, failed := readsOverTLS(t, carrier)
		stall(t, c, make([]byte, 10_000))
		_, err := io.WriteString(client, undecipherable)
		require.NoError(t, err)
		require.ErrorContains(t, receive(t, failed), "bad record MAC")
		_, err = io.Copy(io.Discard, secured) // the alert comes behind what was queued
		require.ErrorContains(t, err, "bad record MAC")
	})
}

// What TLS has to say because of what it reads is not enqueued by anybody: a write deadline that has passed does not close the connection
// for it, and it goes out with what is sent next.
func TestDeadlineWhileTLSAnswers(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		engine, c, client, secured, failed := readsOverTLS(t, carrier)
		for full := 0; full < 3; { // until there is no room, and none comes
			require.NoError(t, c.SetWriteDeadline(time.Now().Add(20*time.Millisecond)))
			n, err := c.Write(make([]byte, 8<<20))
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			if full++; n > 0 {
				full = 0
			}
		}
		_, err := io.WriteString(client, undecipherable)
		require.NoError(t, err)
		require.ErrorContains(t, receive(t, failed), "bad record MAC")
		tried := make(chan struct{}) // by the queue, which comes first
		require.True(t, coserver.LoopOf(engine, 0).Post(runner(func() { close(tried) })))
		receive(t, tried)
		require.NoError(t, c.SetWriteDeadline(time.Time{}))
		flushed := make(chan error, 1)
		go func() { flushed <- c.Flush() }()
		_, err = io.Copy(io.Discard, secured)
		require.ErrorContains(t, err, "bad record MAC")
		require.NoError(t, receive(t, flushed))
	})
}
