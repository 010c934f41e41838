package coserver_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/coserver/frame"
	"github.com/strand-net/strand/poller/pollertest/leak"
	"github.com/strand-net/strand/poller/sys"
)

// onEachReceiver runs test with every carrier, and with handlers whose work another goroutine does.
func onEachReceiver(t *testing.T, test func(t *testing.T, serve func(f frame.Framing, handler func(*coserver.Conn) error) net.Addr)) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		test(t, func(f frame.Framing, handler func(*coserver.Conn) error) net.Addr {
			return start(t, &coserver.Server{Carrier: carrier, Framing: f, Handler: handler}, "tcp")
		})
	})
	t.Run("goroutine", func(t *testing.T) {
		test(t, func(f frame.Framing, handler func(*coserver.Conn) error) net.Addr {
			return start(t, &coserver.Server{Framing: f, Handler: func(c *coserver.Conn) error {
				done := make(chan error, 1)
				go func() { done <- handler(c) }()
				return <-done
			}}, "tcp")
		})
	})
}

// echoMessages sends each message back.
func echoMessages(c *coserver.Conn) error {
	for {
		msg, err := c.RecvSlice()
		if err != nil {
			return err
		}
		if err := c.Send(msg); err != nil {
			return err
		}
	}
}

// framed is both ends of what package frame makes of a connection.
type framed struct {
	*frame.Reader
	*frame.Writer
}

func framedBy(t *testing.T, c net.Conn, f frame.Framing) framed {
	t.Helper()
	r, err := frame.NewReader(c, f)
	require.NoError(t, err)
	w, err := frame.NewWriter(c, f)
	require.NoError(t, err)
	return framed{r, w}
}

// SetFraming is of neither alone.
func (f framed) SetFraming(to frame.Framing) error {
	return errors.Join(f.Reader.SetFraming(to), f.Writer.SetFraming(to))
}

// appended is a message as it stands in a stream.
func appended(t *testing.T, f frame.Framing, msg []byte) []byte {
	t.Helper()
	all, err := frame.Append(nil, f, msg)
	require.NoError(t, err)
	return all
}

var length4 = frame.LengthField{Size: 4}

// oneByOne writes each byte by itself.
func oneByOne(t *testing.T, c net.Conn, data []byte) {
	for i := range data {
		_, err := c.Write(data[i : i+1])
		require.NoError(t, err)
	}
}

// swoole_socket_coro/server_accept: a 10-byte header with the length at offset 6, also alone.
func TestRecvHeaderOfTen(t *testing.T) {
	f := frame.LengthField{Size: 4, Offset: 6, Keep: true}
	onEachReceiver(t, func(t *testing.T, serve func(frame.Framing, func(*coserver.Conn) error) net.Addr) {
		c := framedBy(t, dial(t, serve(f, echoMessages)), f)
		for _, size := range []int{0, 1, 9, 10, 4096, 100_000, 0} {
			msg := append([]byte("header\x00\x00\x00\x00"), make([]byte, size)...)
			binary.BigEndian.PutUint32(msg[6:], uint32(size))
			require.NoError(t, c.Send(msg))
			back, err := c.Recv()
			require.NoError(t, err)
			require.True(t, bytes.Equal(msg, back))
		}
	})
}

// length12 is a length function: every message has 12 bytes, of which it wants to see four.
func length12(data []byte) (int, error) {
	if len(data) < 4 {
		return 0, nil
	}
	return 12, nil
}

// protocol/package_length_func: what comes byte by byte is one message.
func TestRecvLengthFuncByteByByte(t *testing.T) {
	onEachReceiver(t, func(t *testing.T, serve func(frame.Framing, func(*coserver.Conn) error) net.Addr) {
		got := make(chan string, 1)
		c := dial(t, serve(frame.Func{Length: length12}, func(c *coserver.Conn) error {
			msg, err := c.Recv()
			got <- string(msg)
			return err
		}))
		oneByOne(t, c, []byte("hello world\n"))
		require.Equal(t, "hello world\n", receive(t, got))
		expectEOF(t, c)
	})
}

// protocol/bug_3586: clients that send in parts, and others that leave in the middle of theirs, are in nobody's way.
func TestRecvLengthFuncSurvivesOthers(t *testing.T) {
	addr := start(t, &coserver.Server{Framing: frame.Func{Length: length12}, Handler: echoMessages}, "tcp")
	var conns []net.Conn
	for i := range 10 {
		c := dial(t, addr)
		_, err := io.WriteString(c, "hello"[:i%5+1])
		require.NoError(t, err)
		conns = append(conns, c)
	}
	for i, c := range conns {
		if i%2 == 1 {
			require.NoError(t, c.Close())
			continue
		}
		rest := "hello world\n"[i%5+1:]
		_, err := io.WriteString(c, rest)
		require.NoError(t, err)
		back := make([]byte, 12)
		_, err = io.ReadFull(c, back)
		require.NoError(t, err)
		require.Equal(t, "hello world\n", string(back))
	}
}

// swoole_socket_coro/recv_bad_packet: a peer that announces much and sends little makes Recv time out, and what it has sent is there
// still: further calls go on with it, and get the whole message when it has come.
func TestRecvTimeoutInMidMessage(t *testing.T) {
	for name, f := range map[string]frame.Framing{"length": length4, "line": frame.Line{}, "delimiter": frame.Delimiter{Delim: "##"}, "uvarint": frame.Uvarint{}} {
		for _, size := range []int{12, 5_000, 30_000, 64<<10 + 7, 200_000, 1_900_000} {
			t.Run(fmt.Sprint(name, " ", size), func(t *testing.T) {
				onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
					timeouts, messages := make(chan int, 1), make(chan []byte, 2)
					addr := start(t, &coserver.Server{Carrier: carrier, Framing: f, Handler: func(c *coserver.Conn) error {
						for n := 0; ; {
							_ = c.SetReadDeadline(time.Now().Add(3 * time.Millisecond))
							msg, err := c.Recv()
							switch {
							case errors.Is(err, os.ErrDeadlineExceeded) && msg == nil:
								select {
								case timeouts <- n:
								default:
								}
								n++
							case err != nil:
								return err
							default:
								messages <- msg
							}
						}
					}}, "tcp")
					c := dial(t, addr)
					msg := bytes.Repeat([]byte("x"), size)
					all := append(appended(t, f, msg), appended(t, f, []byte("next"))...)
					for i, cut := range []int{1, size / 3, size / 2, size - 1} {
						from := []int{0, 1, size / 3, size / 2}[i]
						_, err := c.Write(all[from:cut])
						require.NoError(t, err)
						before := receive(t, timeouts)
						eventually(t, func() bool { return receive(t, timeouts) > before+1 }, "it times out again and again")
					}
					_, err := c.Write(all[size-1:])
					require.NoError(t, err)
					require.True(t, bytes.Equal(msg, receive(t, messages)))
					require.Equal(t, "next", string(receive(t, messages)))
				})
			})
		}
	}
}

// After a Recv that has timed out, other calls read what there is of the message.
func TestReadAfterRecvTimeout(t *testing.T) {
	reads := map[string]func(c *coserver.Conn, n int) ([]byte, error){
		"Read": func(c *coserver.Conn, n int) ([]byte, error) {
			p := make([]byte, n)
			_, err := io.ReadFull(readerOnly{c}, p)
			return p, err
		},
		"ReadFull": func(c *coserver.Conn, n int) ([]byte, error) {
			p := make([]byte, n)
			_, err := c.ReadFull(p)
			return p, err
		},
		"Next": func(c *coserver.Conn, n int) ([]byte, error) {
			var all []byte
			for len(all) < n {
				part, err := c.Next()
				if err != nil {
					return nil, err
				}
				all = append(all, part...)
			}
			return all, nil
		},
		"ReadSlice": func(c *coserver.Conn, n int) ([]byte, error) {
			return c.ReadSlice('\x03') // the last byte
		},
		"Peek and Discard": func(c *coserver.Conn, n int) ([]byte, error) {
			p := make([]byte, n)
			for at := 0; at < n; {
				part, err := c.Peek(min(n-at, 1000))
				if err != nil {
					return nil, err
				}
				at += copy(p[at:], part)
				if _, err := c.Discard(len(part)); err != nil {
					return nil, err
				}
			}
			return p, nil
		},
	}
	for _, size := range []int{100, 20_000, 150_000} {
		for name, read := range reads {
			if name == "ReadSlice" && size > 64<<10 {
				continue // which is more than it takes
			}
			t.Run(fmt.Sprint(name, " ", size), func(t *testing.T) {
				onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
					timedOut, got := make(chan struct{}), make(chan []byte, 2)
					addr := start(t, &coserver.Server{Carrier: carrier, Framing: frame.LengthField{Size: 4}, Handler: func(c *coserver.Conn) error {
						_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
						for {
							if _, err := c.Recv(); errors.Is(err, os.ErrDeadlineExceeded) {
								break
							}
						}
						close(timedOut)
						_ = c.SetReadDeadline(time.Time{})
						all, err := read(c, size+1)
						got <- bytes.Clone(all)
						if err != nil {
							return err
						}
						msg, err := c.Recv()
						got <- msg
						return err
					}}, "tcp")
					c := dial(t, addr)
					part := bytes.Repeat([]byte("y"), size)
					copy(part, "\x00\x10\x00\x00")
					_, err := c.Write(part)
					require.NoError(t, err)
					receive(t, timedOut)
					_, err = c.Write(append([]byte{3}, appended(t, length4, []byte("a message"))...))
					require.NoError(t, err)
					require.True(t, bytes.Equal(append(part, 3), receive(t, got)[:size+1]), "what there was")
					if name != "Next" { // which takes what has come, whatever it is
						require.Equal(t, "a message", string(receive(t, got)))
					}
				})
			})
		}
	}
}

// readerOnly hides what else a Conn has.
type readerOnly struct{ io.Reader }

// What a Recv that has timed out remembers is of no use when somebody else has read since, and if what there is now lies in the same place.
func TestRecvForgetsWhatOthersHaveRead(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		const size = 20_000
		step, got := make(chan struct{}), make(chan string, 1)
		c := dial(t, start(t, &coserver.Server{Carrier: carrier, Framing: frame.Line{}, Handler: func(c *coserver.Conn) error {
			for first := true; ; first = false {
				if _, err := c.Peek(size); err != nil {
					return err
				}
				if !first {
					break
				}
				_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
				if _, err := c.RecvSlice(); !errors.Is(err, os.ErrDeadlineExceeded) {
					return fmt.Errorf("want a timeout: %w", err)
				}
				_ = c.SetReadDeadline(time.Time{})
				if _, err := c.Next(); err != nil {
					return err
				}
				step <- struct{}{}
			}
			msg, err := c.Recv()
			got <- string(msg)
			return err
		}}, "tcp"))
		_, err := c.Write(bytes.Repeat([]byte("x"), size))
		require.NoError(t, err)
		receive(t, step)
		_, err = io.WriteString(c, "here\n"+strings.Repeat("y", size-5))
		require.NoError(t, err)
		require.Equal(t, "here", receive(t, got))
	})
}

// countingFraming counts the bytes that it is asked to look at.
type countingFraming struct {
	frame.Framing
	looked atomic.Int64
}

func (f *countingFraming) Find(data []byte, seen int) (frame.Span, error) {
	f.looked.Add(int64(len(data) - seen))
	return f.Framing.Find(data, seen)
}

// No byte is looked at twice, in whatever pieces and with whatever timeouts it comes.
func TestRecvLooksAtNoByteTwice(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		const size = 300_000
		f := &countingFraming{Framing: frame.Line{}}
		got := make(chan int, 1)
		c := dial(t, start(t, &coserver.Server{Carrier: carrier, Framing: f, Handler: func(c *coserver.Conn) error {
			for {
				_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
				msg, err := c.Recv()
				if err == nil {
					got <- len(msg)
				} else if !errors.Is(err, os.ErrDeadlineExceeded) {
					return err
				}
			}
		}}, "tcp"))
		line := append(bytes.Repeat([]byte("x"), size), '\n')
		for part := range slices.Chunk(line, 3000) {
			_, err := c.Write(part)
			require.NoError(t, err)
			runtime.Gosched()
		}
		require.Equal(t, size, receive(t, got))
		require.EqualValues(t, size+1, f.looked.Load())
	})
}

// The end of the input between two messages is io.EOF, and in the middle of one io.ErrUnexpectedEOF with what there is of it.
func TestRecvEnds(t *testing.T) {
	onEachReceiver(t, func(t *testing.T, serve func(frame.Framing, func(*coserver.Conn) error) net.Addr) {
		type outcome struct {
			msg string
			err error
		}
		got := make(chan outcome, 1)
		addr := serve(length4, func(c *coserver.Conn) error {
			for {
				msg, err := c.Recv()
				got <- outcome{string(msg), err}
				if err == io.EOF {
					return nil
				}
			}
		})
		for _, tail := range []string{"", "\x00", "\x00\x00\x00\x05", "\x00\x00\x00\x05hell", "\x00\x01\xff\xff" + strings.Repeat("x", 100_000)} {
			c := dial(t, addr)
			_, err := io.WriteString(c, "\x00\x00\x00\x05hello\x00\x00\x00\x00"+tail)
			require.NoError(t, err)
			require.NoError(t, c.(*net.TCPConn).CloseWrite())
			require.Equal(t, outcome{"hello", nil}, receive(t, got))
			require.Equal(t, outcome{"", nil}, receive(t, got), "a message without a body is no end")
			if tail != "" {
				require.Equal(t, outcome{tail, io.ErrUnexpectedEOF}, receive(t, got))
			}
			require.Equal(t, outcome{"", io.EOF}, receive(t, got))
		}
	})
}

// A message that is too large, or none, is an error each time, and everything is there still.
func TestRecvTooLarge(t *testing.T) {
	onEachReceiver(t, func(t *testing.T, serve func(frame.Framing, func(*coserver.Conn) error) net.Addr) {
		for want, sent := range map[error]string{frame.ErrTooLarge: "\x00\x10\x00\x00body", frame.ErrMalformed: "\x00\x00\x00\x03body"} {
			got := make(chan error, 1)
			c := dial(t, serve(frame.LengthField{Size: 4, Adjust: -4, Max: 1000}, func(c *coserver.Conn) error {
				for range 2 {
					_, err := c.Recv()
					got <- err
				}
				rest := make([]byte, len(sent))
				_, err := c.ReadFull(rest)
				if string(rest) != sent {
					got <- fmt.Errorf("%q", rest)
				}
				got <- err
				return c.Send([]byte("it is open still"))
			}))
			_, err := io.WriteString(c, sent)
			require.NoError(t, err)
			for range 2 {
				err := receive(t, got)
				require.ErrorIs(t, err, want)
				var opErr *net.OpError
				require.ErrorAs(t, err, &opErr)
			}
			require.NoError(t, receive(t, got))
			back, err := io.ReadAll(c)
			require.NoError(t, err)
			require.Equal(t, "\x00\x00\x00\x14it is open still", string(back))
		}
	})
}

// swoole_server/wrong_eof_setting: a server with a framing that cannot be does not start, and the error says why.
func TestFramingIsValidated(t *testing.T) {
	leak.Check(t)
	for _, c := range []struct {
		framing frame.Framing
		want    string
	}{{frame.Delimiter{}, "Delimiter.Delim is empty"}, {frame.LengthField{Size: 3}, "LengthField.Size is 3, want 1, 2, 4 or 8"}} {
		_, err := (&coserver.Server{Handler: echoMessages, Framing: c.framing}).Listen("tcp", "127.0.0.1:0")
		require.ErrorContains(t, err, "Server.Framing")
		require.ErrorContains(t, err, c.want)
	}
	got := make(chan error, 3)
	c := dial(t, start(t, &coserver.Server{Handler: func(c *coserver.Conn) error {
		_, err := c.Recv()
		got <- errors.Join(err)
		got <- c.Send(nil)
		got <- errors.Join(c.SetFraming(frame.Fixed{}), c.SetFraming(nil))
		return nil
	}}, "tcp"))
	require.ErrorIs(t, receive(t, got), coserver.ErrNoFraming)
	require.ErrorIs(t, receive(t, got), coserver.ErrNoFraming)
	err := receive(t, got)
	require.ErrorContains(t, err, "Fixed.Size is 0")
	require.ErrorContains(t, err, "framing is nil")
	expectEOF(t, c)
}

// swoole_socket_coro/recv_line: lines have a longest. A \r alone is no end, and what is too long is an error and not cut.
func TestRecvLinesOfAtMost128(t *testing.T) {
	onEachReceiver(t, func(t *testing.T, serve func(frame.Framing, func(*coserver.Conn) error) net.Addr) {
		got := make(chan string, 1)
		c := dial(t, serve(frame.Line{Max: 128, Keep: true}, func(c *coserver.Conn) error {
			for msg, err := range c.Messages() {
				if errors.Is(err, frame.ErrTooLarge) {
					got <- "too large"
					break
				}
				got <- string(msg)
			}
			a, err := c.Peek(128)
			got <- string(a)
			return err
		}))
		long := strings.Repeat("A", 127) + "\n"
		_, err := io.WriteString(c, "hello world\n\r\r\n"+long+strings.Repeat("A", 128)+"\n")
		require.NoError(t, err)
		for _, want := range []string{"hello world\n", "\r\r\n", long, "too large", strings.Repeat("A", 128)} {
			require.Equal(t, want, receive(t, got))
		}
	})
}

// swoole_socket_coro/recv_with_buffer: Recv and calls that read single bytes share what has come, and nothing is lost between them.
func TestRecvAmongOtherReads(t *testing.T) {
	onEachReceiver(t, func(t *testing.T, serve func(frame.Framing, func(*coserver.Conn) error) net.Addr) {
		got := make(chan string, 1)
		c := dial(t, serve(frame.Line{}, func(c *coserver.Conn) error {
			var all strings.Builder
			defer func() { got <- all.String() }()
			for one := make([]byte, 1); ; {
				if _, err := c.Read(one); err == io.EOF {
					return nil
				} else if err != nil {
					return err
				}
				all.Write(one)
				msg, err := c.Recv()
				if err != nil {
					return err
				}
				all.Write(append(msg, '\n'))
			}
		}))
		want := strings.Repeat("a few words in a line\nx\n", 500)
		_, err := io.WriteString(c, want)
		require.NoError(t, err)
		require.NoError(t, c.(*net.TCPConn).CloseWrite())
		require.Equal(t, want, receive(t, got))
	})
}

// swoole_socket_coro/complete_test: a peer that pauses makes the one Recv fail that waits for it, and none before.
func TestRecvTimeoutAfterExchanges(t *testing.T) {
	onEachReceiver(t, func(t *testing.T, serve func(frame.Framing, func(*coserver.Conn) error) net.Addr) {
		got := make(chan int, 1)
		conn := dial(t, serve(length4, func(c *coserver.Conn) error {
			for n := 0; ; n++ {
				_ = c.SetReadDeadline(time.Now().Add(patience))
				if n == 10 {
					_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
				}
				msg, err := c.Recv()
				if errors.Is(err, os.ErrDeadlineExceeded) {
					got <- n
					return nil
				}
				if err != nil {
					return err
				}
				if err := c.Send(msg); err != nil {
					return err
				}
			}
		}))
		c := framedBy(t, conn, length4)
		for i := range 10 {
			require.NoError(t, c.Send([]byte(fmt.Sprint("message ", i))))
			back, err := c.Recv()
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint("message ", i), string(back))
		}
		require.Equal(t, 10, receive(t, got))
	})
}

// swoole_socket_coro/recv_timeout: a silent peer makes Recv fail when its time is over, and not before.
func TestRecvTimeout(t *testing.T) {
	onEachReceiver(t, func(t *testing.T, serve func(frame.Framing, func(*coserver.Conn) error) net.Addr) {
		took := make(chan time.Duration, 1)
		dial(t, serve(length4, func(c *coserver.Conn) error {
			begun := time.Now()
			_ = c.SetReadDeadline(begun.Add(30 * time.Millisecond))
			_, err := c.Recv()
			if errors.Is(err, os.ErrDeadlineExceeded) {
				took <- time.Since(begun)
			}
			return err
		}))
		require.GreaterOrEqual(t, receive(t, took), 30*time.Millisecond)
	})
}

// swoole_socket_coro/getBoundCid and closed: Close ends a Send and a Recv that wait, and both fail after it.
func TestCloseEndsRecvAndSend(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		errs, begun := make(chan error, 2), make(chan *coserver.Conn, 1)
		dial(t, start(t, &coserver.Server{Carrier: carrier, Framing: frame.LengthField{Size: 4, Max: 32 << 20}, Handler: func(c *coserver.Conn) error {
			go func() { errs <- c.Send(make([]byte, 16<<20)) }()
			begun <- c
			_, err := c.Recv()
			errs <- err
			return nil
		}}, "tcp"))
		c := receive(t, begun)
		eventually(t, func() bool { return c.Stats().Reads && c.Stats().Writes }, "both wait")
		require.NoError(t, c.Close())
		for range 2 {
			require.ErrorIs(t, receive(t, errs), net.ErrClosed)
		}
		_, err := c.Recv()
		require.ErrorIs(t, err, net.ErrClosed)
		require.ErrorIs(t, c.Send(nil), net.ErrClosed)
	})
}

// swoole_socket_coro/bound_error: goroutines that receive on one connection get whole messages, each once; those that send do not mix them.
func TestConcurrentRecvAndSend(t *testing.T) {
	const workers, count = 4, 400
	f := frame.Uvarint{}
	addr := start(t, &coserver.Server{Framing: f, Handler: func(c *coserver.Conn) error {
		var group sync.WaitGroup
		for range workers {
			group.Go(func() {
				for {
					msg, err := c.Recv()
					if err != nil {
						return
					}
					if err := c.Send(msg); err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
		return nil
	}}, "tcp")
	conn := dial(t, addr)
	c := framedBy(t, conn, f)
	sent := make(chan error, 1)
	go func() {
		for i := range count {
			msg := bytes.Repeat([]byte{byte(i)}, 2+i*97%40_000)
			binary.BigEndian.PutUint16(msg, uint16(i))
			if err := c.Send(msg); err != nil {
				sent <- err
				return
			}
		}
		sent <- conn.(*net.TCPConn).CloseWrite()
	}()
	seen := make(map[uint16]bool)
	for msg, err := range c.Messages() {
		require.NoError(t, err)
		i := binary.BigEndian.Uint16(msg)
		require.False(t, seen[i])
		seen[i] = true
		require.Len(t, msg, 2+int(i)*97%40_000)
		require.Equal(t, len(msg)-2, bytes.Count(msg[2:], []byte{byte(i)}))
	}
	require.NoError(t, receive(t, sent))
	require.Len(t, seen, count)
}

// swoole_socket_coro/tcp-c10k and concurrency: many clients, each with many messages, get their own answers in order.
func TestManyFramedClients(t *testing.T) {
	const clients, count = 100, 50
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		addr := start(t, &coserver.Server{Carrier: carrier, Framing: length4, Handler: echoMessages}, "tcp")
		var group sync.WaitGroup
		for i := range clients {
			c := framedBy(t, dial(t, addr), length4)
			group.Go(func() {
				for n := range count {
					if err := c.Send([]byte(fmt.Sprint("message ", n, " of ", i))); err != nil {
						t.Error(err)
						return
					}
				}
				for n := range count {
					if msg, err := c.RecvSlice(); err != nil || string(msg) != fmt.Sprint("message ", n, " of ", i) {
						t.Errorf("%q %v", msg, err)
						return
					}
				}
			})
		}
		group.Wait()
	})
}

// A Send that the peer does not take ends at its deadline. If nothing of it has been taken it can be made again; else nothing follows it.
func TestSendTimeout(t *testing.T) {
	for _, size := range []int{1000, 100_000} {
		onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
			msg := bytes.Repeat([]byte("m"), size)
			type outcome struct {
				whole int
				err   error
				later error
			}
			got := make(chan outcome, 1)
			conn := dial(t, start(t, &coserver.Server{Carrier: carrier, Framing: length4, Handler: func(c *coserver.Conn) error {
				o := outcome{}
				for o.err == nil {
					_ = c.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
					if o.err = c.Send(msg); o.err == nil {
						o.whole++
					}
				}
				_ = c.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
				if o.later = c.Send(msg); o.later == nil { // the kernel has found some more room
					o.whole++
				}
				got <- o
				_ = c.SetWriteDeadline(time.Now().Add(patience))
				if errors.Is(o.later, frame.ErrCutShort) {
					return c.CloseWrite()
				}
				return c.Send([]byte("made again"))
			}}, "tcp"))
			o := receive(t, got)
			require.ErrorIs(t, o.err, os.ErrDeadlineExceeded)
			c := framedBy(t, conn, length4)
			for range o.whole {
				back, err := c.RecvSlice()
				require.NoError(t, err)
				require.True(t, bytes.Equal(msg, back))
			}
			back, err := c.Recv()
			if errors.Is(o.err, frame.ErrCutShort) {
				require.ErrorIs(t, o.later, frame.ErrCutShort)
			}
			if errors.Is(o.later, frame.ErrCutShort) {
				require.Equal(t, io.ErrUnexpectedEOF, err)
				require.True(t, bytes.HasPrefix(appended(t, length4, msg), back))
			} else {
				if o.later != nil {
					require.ErrorIs(t, o.later, os.ErrDeadlineExceeded)
				}
				require.NoError(t, err)
				require.Equal(t, "made again", string(back))
			}
			_, err = c.Recv()
			require.Equal(t, io.EOF, err)
		})
	}
}

// The answers to what has come together go out together.
func TestSendsCoalesce(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		kernel, engine := counted(t)
		conn := dial(t, start(t, &coserver.Server{Engine: engine, Carrier: carrier, Framing: length4, Handler: echoMessages}, "tcp"))
		batch := strings.Repeat("\x00\x00\x00\x07message", 16)
		for range 50 {
			exchange(t, conn, batch)
		}
		require.LessOrEqual(t, kernel.sends.Load(), int64(100))
		exchange(t, conn, strings.Repeat("\x00\x00\x00\x64"+strings.Repeat("x", 100), 600)) // more than is gathered at once
	})
}

// What cannot be sent is refused before a byte of it, and what was gathered before it is not lost.
func TestSendRefuses(t *testing.T) {
	onEachReceiver(t, func(t *testing.T, serve func(frame.Framing, func(*coserver.Conn) error) net.Addr) {
		got := make(chan error, 4)
		c := dial(t, serve(frame.Line{Max: 40_000}, func(c *coserver.Conn) error {
			for range 2 {
				msg, err := c.RecvSlice()
				if err != nil {
					return err
				}
				if err := c.Send(msg); err != nil {
					return err
				}
				got <- c.Send([]byte("two\nlines"))
				got <- c.Send(make([]byte, 40_000))
			}
			return nil
		}))
		_, err := io.WriteString(c, "one\ntwo\nthree\n")
		require.NoError(t, err)
		back, err := io.ReadAll(c)
		require.NoError(t, err)
		require.Equal(t, "one\ntwo\n", string(back))
		for range 2 {
			require.ErrorIs(t, receive(t, got), frame.ErrMalformed)
			require.ErrorIs(t, receive(t, got), frame.ErrTooLarge)
		}
	})
}

// wordy is a framing whose heads are larger than what there is room for at first.
type wordy struct{ frame.LengthField }

func (w wordy) Find(data []byte, _ int) (frame.Span, error) {
	if len(data) < 20_000 {
		return frame.Span{}, nil
	}
	span, err := w.LengthField.Find(data[20_000:], 0)
	if err != nil || span.End == 0 {
		return frame.Span{}, err
	}
	return frame.Span{End: span.End + 20_000, From: span.From + 20_000, To: span.To + 20_000}, nil
}

func (w wordy) AppendHead(dst, msg []byte) ([]byte, error) {
	return w.LengthField.AppendHead(append(dst, make([]byte, 20_000)...), msg)
}

// A framing of the user's own may do as it likes.
func TestFramingOfOnesOwn(t *testing.T) {
	f := wordy{length4}
	onEachReceiver(t, func(t *testing.T, serve func(frame.Framing, func(*coserver.Conn) error) net.Addr) {
		c := framedBy(t, dial(t, serve(f, echoMessages)), f)
		for _, size := range []int{0, 10, 30_000} {
			for range 3 {
				require.NoError(t, c.Send(make([]byte, size)))
			}
			for range 3 {
				back, err := c.Recv()
				require.NoError(t, err)
				require.Len(t, back, size)
			}
		}
	})
}

// A framing that panics ends its connection and no other, and whoever else reads there is told.
func TestFramingPanics(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		fell, others, ended := make(chan error, 1), make(chan error, 2), make(chan struct{})
		f := frame.Func{Length: func(data []byte) (int, error) {
			if data[0] == '!' {
				panic(errTest)
			}
			return 1, nil
		}}
		addr := start(t, &coserver.Server{Carrier: carrier, Framing: f, OnError: func(_ *coserver.Conn, err error) { fell <- err },
			Handler: func(c *coserver.Conn) error {
				if err := echoMessage(c); err != nil {
					return err
				}
				go func() {
					<-ended // before, it would fall itself, over the same message
					_, err := c.Recv()
					others <- err
				}()
				return echoMessages(c)
			}}, "tcp")
		well, ill := dial(t, addr), dial(t, addr)
		exchange(t, well, "hello")
		exchange(t, ill, "hello")
		_, err := io.WriteString(ill, "!")
		require.NoError(t, err)
		require.ErrorIs(t, receive(t, fell), errTest)
		expectEnd(t, ill)
		exchange(t, well, "hello again")
		require.NoError(t, well.(*net.TCPConn).CloseWrite())
		expectEOF(t, well)
		close(ended)
		for range 2 {
			require.ErrorIs(t, receive(t, others), net.ErrClosed)
		}
	})
}

func echoMessage(c *coserver.Conn) error {
	msg, err := c.Recv()
	if err != nil {
		return err
	}
	return c.Send(msg)
}

// A protocol gives way to another between two messages: what has been read already is of the other.
func TestSetFraming(t *testing.T) {
	onEachReceiver(t, func(t *testing.T, serve func(frame.Framing, func(*coserver.Conn) error) net.Addr) {
		conn := dial(t, serve(frame.Line{}, func(c *coserver.Conn) error {
			if err := echoMessage(c); err != nil {
				return err
			}
			if err := c.SetFraming(length4); err != nil {
				return err
			}
			return echoMessages(c)
		}))
		c := framedBy(t, conn, frame.Line{})
		_, err := io.WriteString(conn, "upgrade\n\x00\x00\x00\x03\na\n\x00\x00\x00\x00")
		require.NoError(t, err)
		back, err := c.Recv()
		require.NoError(t, err)
		require.Equal(t, "upgrade", string(back))
		require.NoError(t, c.SetFraming(length4))
		back, err = c.Recv()
		require.NoError(t, err)
		require.Equal(t, "\na\n", string(back))
		back, err = c.Recv()
		require.NoError(t, err)
		require.Empty(t, back)
	})
}

// A connection that was dialled has the framing that it is given.
func TestFramingOfADialledConn(t *testing.T) {
	addr := start(t, &coserver.Server{Framing: length4, Handler: echoMessages}, "tcp")
	within(t, func(t *testing.T) {
		conn, err := coserver.Dial("tcp", addr.String())
		require.NoError(t, err)
		defer conn.Close()
		c := conn.(*coserver.Conn)
		require.ErrorIs(t, c.Send(nil), coserver.ErrNoFraming)
		require.NoError(t, c.SetFraming(length4))
		for _, size := range []int{0, 1, 100_000} {
			require.NoError(t, c.Send(make([]byte, size)))
			back, err := c.Recv()
			require.NoError(t, err)
			require.Len(t, back, size)
		}
	})
}

// TLS changes nothing.
func TestFramedTLS(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		addr := start(t, &coserver.Server{Carrier: carrier, Framing: length4, Handler: echoMessages, TLSConfig: serverTLS()}, "tcp")
		c := framedBy(t, dialTLS(t, addr, clientTLS()), length4)
		for _, size := range []int{0, 1, 5000, 16 << 10, 17 << 10, 300_000} {
			msg := bytes.Repeat([]byte("tls"), size/3)
			for range 2 {
				require.NoError(t, c.Send(msg))
			}
			for range 2 {
				back, err := c.Recv()
				require.NoError(t, err)
				require.True(t, bytes.Equal(msg, back))
			}
		}
	})
}

// A loop over messages ends with the input, or with the first error.
func TestConnMessages(t *testing.T) {
	onEachReceiver(t, func(t *testing.T, serve func(frame.Framing, func(*coserver.Conn) error) net.Addr) {
		got := make(chan []string, 1)
		c := dial(t, serve(frame.Line{}, func(c *coserver.Conn) error {
			var all []string
			for msg, err := range c.Messages() {
				if all = append(all, fmt.Sprint(string(msg), " ", err)); len(all) == 1 {
					break
				}
			}
			for msg, err := range c.Messages() {
				all = append(all, fmt.Sprint(string(msg), " ", err))
			}
			for range c.Messages() {
				all = append(all, "more")
			}
			got <- all
			return nil
		}))
		_, err := io.WriteString(c, "one\ntwo\nthr")
		require.NoError(t, err)
		require.NoError(t, c.(*net.TCPConn).CloseWrite())
		require.Equal(t, []string{"one <nil>", "two <nil>", "thr unexpected EOF"}, receive(t, got))
	})
}

// swoole_http_server_coro/graceful_shutdown: a connection that waits for its next message is idle, and one in the middle of a message is not.
func TestShutdownBetweenMessages(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		s := &coserver.Server{Carrier: carrier, Framing: length4, Handler: echoMessages}
		addr := start(t, s, "tcp")
		idle, busy := dial(t, addr), dial(t, addr)
		exchange(t, idle, "\x00\x00\x00\x01x")
		exchange(t, busy, "\x00\x00\x00\x01x")
		_, err := io.WriteString(busy, "\x00\x00\x00\x05he")
		require.NoError(t, err)
		eventually(t, func() bool {
			for c := range s.Conns() {
				if c.RemoteAddr().String() == busy.LocalAddr().String() {
					return c.Stats().Reads && coserver.Begun(c)
				}
			}
			return false
		}, "the beginning has come")
		down := make(chan error, 1)
		go func() { down <- s.Shutdown(context.Background()) }()
		expectEOF(t, idle)
		require.Empty(t, down)
		_, err = io.WriteString(busy, "llo")
		require.NoError(t, err)
		back, err := io.ReadAll(busy)
		require.NoError(t, err)
		require.Equal(t, "\x00\x00\x00\x05hello", string(back))
		require.NoError(t, receive(t, down))
	})
}

// The limits of a server know where a message begins.
func TestTimeoutsOfMessages(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		got := make(chan error, 1)
		handler := func(c *coserver.Conn) error {
			err := echoMessages(c)
			got <- err
			return err
		}
		dial(t, start(t, &coserver.Server{Carrier: carrier, Framing: length4, IdleTimeout: 20 * time.Millisecond, Handler: handler}, "tcp"))
		require.ErrorIs(t, receive(t, got), coserver.ErrIdleTimeout)
		c := dial(t, start(t, &coserver.Server{Carrier: carrier, Framing: length4, ReadTimeout: 20 * time.Millisecond, Handler: handler}, "tcp"))
		_, err := io.WriteString(c, "\x00\x00\x00\x05h")
		require.NoError(t, err)
		require.ErrorIs(t, receive(t, got), coserver.ErrReadTimeout)
	})
}

// A framed echo allocates nothing, also of messages that take more than a lent buffer.
func TestFramedEchoDoesNotAllocate(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		for name, f := range map[string]frame.Framing{
			"length": frame.LengthField{Size: 4, Keep: true}, "line": frame.Line{Keep: true}, "uvarint": frame.Uvarint{Keep: true},
		} {
			t.Run(name, func(t *testing.T) {
				c := dial(t, start(t, &coserver.Server{Carrier: carrier, Framing: f, Handler: echoMessages}, "tcp"))
				message := []byte("\x00\x00\x00\x3c" + strings.Repeat("x", 60))
				switch name {
				case "line":
					message[63] = '\n'
				case "uvarint":
					message = append([]byte{63}, bytes.Repeat([]byte("x"), 63)...)
				}
				answer := make([]byte, 64)
				require.Zero(t, testing.AllocsPerRun(1000, func() {
					if _, err := c.Write(message); err != nil {
						t.Error(err)
					}
					if _, err := io.ReadFull(c, answer); err != nil {
						t.Error(err)
					}
				}))
			})
		}
	})
}

// greedKernel knows the most that somebody wanted to receive at once since a look.
type greedKernel struct {
	sys.Kernel
	most atomic.Int64
}

func (k *greedKernel) Recv(fd int, p []byte) (int, syscall.Errno) {
	if n := int64(len(p)); n > k.most.Load() {
		k.most.Store(n)
	}
	return k.Kernel.Recv(fd, p)
}

// faults.md M5: a header that announces much reserves nothing; a large message gets room as it comes; and that is given back after it.
func TestRecvReservesNothing(t *testing.T) {
	leak.Check(t)
	kernel := &greedKernel{Kernel: sys.Host}
	engine, err := coserver.NewEngineOn(kernel)
	require.NoError(t, err)
	t.Cleanup(func() { engine.Close() })
	f := frame.LengthField{Size: 4, Max: 1 << 30}
	got := make(chan int, 1)
	conn := dial(t, start(t, &coserver.Server{Engine: engine, Framing: f, Handler: func(c *coserver.Conn) error {
		for {
			msg, err := c.RecvSlice()
			if err != nil {
				return err
			}
			got <- len(msg)
		}
	}}, "tcp"))
	_, err = io.WriteString(conn, "\x3f\xff\x00\x00and not much more")
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	expectEnd(t, conn)
	require.LessOrEqual(t, kernel.most.Load(), int64(64<<10))

	c := framedBy(t, dial(t, conn.RemoteAddr()), f)
	for _, size := range []int{100, 300_000, 8 << 20} {
		require.NoError(t, c.Send(make([]byte, size)))
		require.Equal(t, size, receive(t, got))
		if size > 64<<10 {
			require.Greater(t, kernel.most.Load(), int64(64<<10))
			require.Less(t, kernel.most.Load(), int64(size))
		}
		kernel.most.Store(0)
		require.NoError(t, c.Send([]byte("small")))
		require.Equal(t, 5, receive(t, got))
		require.LessOrEqual(t, kernel.most.Load(), int64(64<<10))
	}
}

// faults.md M5: a message that comes byte by byte costs no more for each byte when there are many before it.
func TestRecvByteByByte(t *testing.T) {
	kernel, engine := counted(t)
	const size = 30_000
	got := make(chan int, 1)
	conn := dial(t, start(t, &coserver.Server{Engine: engine, Framing: length4, Handler: func(c *coserver.Conn) error {
		for {
			msg, err := c.RecvSlice()
			if err != nil {
				return err
			}
			got <- len(msg)
		}
	}}, "tcp"))
	all := appended(t, length4, make([]byte, size))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	oneByOne(t, conn, all)
	require.Equal(t, size, receive(t, got))
	runtime.ReadMemStats(&after)
	allocated := int64(after.TotalAlloc - before.TotalAlloc)
	// To copy all that is there at each would be half of size, and a -race build throws pooled buffers away at random.
	require.Less(t, allocated, kernel.receives.Load()*4096+4<<20, "only the first kilobyte is copied each time")
}

// A Recv that is cancelled in the middle of a message loses nothing either.
func TestCancelRecv(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		conns, messages, errs := make(chan *coserver.Conn, 1), make(chan string, 1), make(chan error, 1)
		addr := start(t, &coserver.Server{Carrier: carrier, Framing: length4, Handler: func(c *coserver.Conn) error {
			conns <- c
			for {
				msg, err := c.Recv()
				if err != nil && !errors.Is(err, context.Canceled) {
					return err
				}
				messages <- string(msg)
				errs <- err
			}
		}}, "tcp")
		client := dial(t, addr)
		c := receive(t, conns)
		all := appended(t, length4, []byte("message"))
		for i := range all {
			_, err := client.Write(all[i : i+1])
			require.NoError(t, err)
			if i+1 < len(all) {
				eventually(t, c.CancelRead, "a call waits")
				require.Empty(t, receive(t, messages))
				requireCanceled(t, receive(t, errs))
			}
		}
		require.Equal(t, "message", receive(t, messages))
		require.NoError(t, receive(t, errs))
	})
}
