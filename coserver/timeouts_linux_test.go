package coserver_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/poller/sys/systest"
)

const (
	idleTimeout  = 10 * time.Second
	readTimeout  = 3 * time.Second
	writeTimeout = 5 * time.Second
)

// limited is a client of a server that has all timeouts.
type limited struct {
	*systest.Peer
	t      *testing.T
	server *coserver.Server
	ended  chan outcome
}

// outcome is what a handler returned, after what time, and the cause of its connection's end.
type outcome struct {
	err   error
	after time.Duration
	ctx   context.Context
}

// onLimited runs handler for one client, on each carrier, with virtual time.
func onLimited(t *testing.T, options systest.Options, handler func(*coserver.Conn) error, test func(t *testing.T, peer *limited)) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		var ended chan outcome // of the bubble
		s := &coserver.Server{Carrier: carrier, IdleTimeout: idleTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout}
		s.OnError = func(_ *coserver.Conn, err error) { t.Errorf("OnError: %v", err) }
		s.Handler = func(c *coserver.Conn) error {
			begin, ctx := time.Now(), c.Context()
			err := handler(c)
			ended <- outcome{err, time.Since(begin), ctx}
			return err
		}
		onFakeServer(t, options, s, func(f *fake) {
			ended = make(chan outcome, 1)
			test(f.T, &limited{Peer: f.connect(), t: f.T, server: s, ended: ended})
		})
	})
}

// drip sends bytes one by one, one in a period, until so many are sent or the connection has ended.
func (p *limited) drip(period time.Duration, count int) {
	for range count {
		if p.Ended() {
			return
		}
		if _, err := p.Write([]byte("x")); err != nil {
			return
		}
		time.Sleep(period)
	}
}

func (p *limited) send(text string) {
	p.t.Helper()
	_, err := p.Write([]byte(text))
	require.NoError(p.t, err)
	synctest.Wait()
}

// requireCut fails the test unless the handler was told of a limit, after a time, and the connection has ended because of it.
func (p *limited) requireCut(limit error, after time.Duration) {
	p.t.Helper()
	o := <-p.ended
	requireTimeout(p.t, o.err)
	require.ErrorIs(p.t, o.err, limit)
	require.Equal(p.t, after, o.after)
	<-o.ctx.Done()
	require.ErrorIs(p.t, context.Cause(o.ctx), limit)
	synctest.Wait()
	require.Zero(p.t, p.server.Stats().Active)
}

// requireOpen fails the test if the handler has returned.
func (p *limited) requireOpen() {
	p.t.Helper()
	synctest.Wait()
	require.Empty(p.t, p.ended)
}

func (p *limited) timedOut() coserver.TimedOutStats { return p.server.Stats().TimedOut }

// What reads, as a handler that wants a message of 100 bytes or a line.
var messageReaders = map[string]func(*coserver.Conn) error{
	"ReadSlice": func(c *coserver.Conn) error { _, err := c.ReadSlice('\n'); return err },
	"ReadFull":  func(c *coserver.Conn) error { _, err := c.ReadFull(make([]byte, 100)); return err },
	"Peek":      func(c *coserver.Conn) error { _, err := c.Peek(100); return err },
	"Discard":   func(c *coserver.Conn) error { _, err := c.Discard(100); return err },
	"growing Peek": func(c *coserver.Conn) error {
		for n := 1; n < 100; n++ {
			if _, err := c.Peek(n); err != nil {
				return err
			}
		}
		return nil
	},
}

func TestIdleTimeout(t *testing.T) {
	readers := map[string]func(*coserver.Conn) error{"Next": echoNext, "Read": echoRead}
	for name, reader := range messageReaders {
		readers[name] = reader
	}
	for name, reader := range readers {
		t.Run(name, func(t *testing.T) {
			onLimited(t, systest.Options{}, reader, func(t *testing.T, peer *limited) {
				peer.requireCut(coserver.ErrIdleTimeout, idleTimeout)
				require.Equal(t, coserver.TimedOutStats{Idle: 1}, peer.timedOut())
				_, err := peer.Read(make([]byte, 1))
				require.Equal(t, io.EOF, err)
			})
		})
	}
}

// A peer that sends byte by byte does not win any time by it.
func TestReadTimeout(t *testing.T) {
	for name, reader := range messageReaders {
		t.Run(name, func(t *testing.T) {
			onLimited(t, systest.Options{}, reader, func(t *testing.T, peer *limited) {
				time.Sleep(7 * time.Second)
				peer.drip(time.Second/2, 60)
				peer.requireCut(coserver.ErrReadTimeout, 7*time.Second+readTimeout)
				require.Equal(t, coserver.TimedOutStats{Read: 1}, peer.timedOut())
			})
		})
	}
}

// What came is what was asked for, so the next is something new.
func TestSlowBytesAreMessagesOfRead(t *testing.T) {
	for name, reader := range map[string]func(*coserver.Conn) error{"Next": echoNext, "Read": echoRead} {
		t.Run(name, func(t *testing.T) {
			onLimited(t, systest.Options{}, reader, func(t *testing.T, peer *limited) {
				peer.drip(idleTimeout-time.Second, 10)
				peer.requireOpen()
				peer.requireCut(coserver.ErrIdleTimeout, 9*(idleTimeout-time.Second)+idleTimeout)
			})
		})
	}
}

// Each message has its time, also if its beginning came along with the end of the one before.
func TestEachMessageHasItsTime(t *testing.T) {
	onLimited(t, systest.Options{}, echoLine, func(t *testing.T, peer *limited) {
		for range 10 {
			peer.send("be")
			time.Sleep(2 * time.Second)
			peer.send("gin\nlonger begin")
			time.Sleep(2 * time.Second)
			peer.send("\n")
			time.Sleep(9 * time.Second)
		}
		peer.requireOpen()
		peer.send("x")
		peer.requireCut(coserver.ErrReadTimeout, 130*time.Second+readTimeout)
	})
}

// How long the handler takes is no fault of the peer's.
func TestTimeoutsBeginWithAWait(t *testing.T) {
	onLimited(t, systest.Options{}, func(c *coserver.Conn) error {
		for range 3 {
			if _, err := c.ReadSlice('\n'); err != nil {
				return err
			}
			if err := coserver.Sleep(c.Context(), time.Minute); err != nil {
				return err
			}
		}
		return nil
	}, func(t *testing.T, peer *limited) {
		peer.send("one\ntw")
		time.Sleep(time.Minute + time.Second)
		peer.send("o\nthree\n")
		o := <-peer.ended
		require.NoError(t, o.err)
		require.Zero(t, peer.timedOut())
	})
}

// Between two calls of one message the time stands still, and goes on with the second.
func TestTimeoutsStandStillBetweenCalls(t *testing.T) {
	for name, rest := range map[string]struct {
		delay time.Duration // of the rest of the message, from when the handler waits again
		want  error
	}{
		"in time":  {readTimeout - 2*time.Second, nil},
		"too late": {time.Hour, coserver.ErrReadTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			onLimited(t, systest.Options{}, func(c *coserver.Conn) error {
				for range 2 { // the second finds what the first has waited for
					if _, err := c.Peek(2); err != nil {
						return err
					}
					if err := coserver.Sleep(c.Context(), time.Minute); err != nil {
						return err
					}
				}
				_, err := c.ReadSlice('\n')
				return err
			}, func(t *testing.T, peer *limited) {
				peer.send("o")
				time.Sleep(time.Second)
				peer.send("n")
				time.Sleep(2*time.Minute + rest.delay)
				if rest.want == nil {
					peer.send("e\n")
					require.NoError(t, (<-peer.ended).err)
					require.Zero(t, peer.timedOut())
					return
				}
				peer.requireCut(rest.want, 2*time.Minute+readTimeout)
			})
		})
	}
}

// Between a deadline of the handler's and a limit the earlier counts.
func TestDeadlineBeforeTimeout(t *testing.T) {
	for name, test := range map[string]struct {
		deadline time.Duration
		want     error
		after    time.Duration
	}{
		"earlier": {2 * time.Second, os.ErrDeadlineExceeded, 2 * time.Second},
		"later":   {time.Minute, coserver.ErrIdleTimeout, idleTimeout},
		"none":    {0, coserver.ErrIdleTimeout, idleTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			onLimited(t, systest.Options{}, func(c *coserver.Conn) error {
				if test.deadline > 0 {
					c.SetReadDeadline(time.Now().Add(test.deadline))
				}
				_, err := c.Next()
				if errors.Is(err, coserver.ErrIdleTimeout) == (test.want == os.ErrDeadlineExceeded) {
					t.Errorf("got %v, want %v", err, test.want)
				}
				c.SetReadDeadline(time.Time{})
				if test.want == os.ErrDeadlineExceeded {
					return nil // it is the handler's own, and would be reported
				}
				return err
			}, func(t *testing.T, peer *limited) {
				require.Equal(t, test.after, (<-peer.ended).after)
			})
		})
	}
}

// A connection that is written to is not idle, though nothing comes: a download through a proxy, or a subscriber.
func TestNotIdleWhileWrittenTo(t *testing.T) {
	onLimited(t, systest.Options{}, func(c *coserver.Conn) error {
		go func() {
			for range 20 {
				time.Sleep(idleTimeout - time.Second)
				c.Write([]byte("news"))
			}
		}()
		return echoNext(c)
	}, func(t *testing.T, peer *limited) {
		last := 20 * (idleTimeout - time.Second)
		time.Sleep(last)
		peer.requireOpen()
		o := <-peer.ended
		require.ErrorIs(t, o.err, coserver.ErrIdleTimeout)
		require.Greater(t, o.after, last+idleTimeout-time.Second)
		require.LessOrEqual(t, o.after, last+2*idleTimeout)
	})
}

// A handler that looks up now and then, by deadlines of its own, does not put off the limits.
func TestTimeoutOfAPollingHandler(t *testing.T) {
	for name, send := range map[string]string{"idle": "", "message": "begin"} {
		t.Run(name, func(t *testing.T) {
			onLimited(t, systest.Options{}, func(c *coserver.Conn) error {
				for {
					c.SetReadDeadline(time.Now().Add(time.Second))
					_, err := c.ReadSlice('\n')
					if err == nil || errors.Is(err, coserver.ErrIdleTimeout) || errors.Is(err, coserver.ErrReadTimeout) {
						return err
					}
				}
			}, func(t *testing.T, peer *limited) {
				if send == "" {
					peer.requireCut(coserver.ErrIdleTimeout, idleTimeout)
				} else {
					peer.send(send)
					peer.requireCut(coserver.ErrReadTimeout, readTimeout)
				}
			})
		})
	}
}

// A handler may go on after a limit: it loses nothing, and has the same time again.
func TestHandlerGoesOnAfterATimeout(t *testing.T) {
	var line string
	onLimited(t, systest.Options{}, func(c *coserver.Conn) error {
		for range 5 {
			if _, err := c.ReadSlice('\n'); !errors.Is(err, coserver.ErrReadTimeout) {
				t.Errorf("got %v", err)
			}
		}
		data, err := c.ReadSlice('\n')
		line = string(data)
		return err
	}, func(t *testing.T, peer *limited) {
		peer.send("begun")
		time.Sleep(5*readTimeout + time.Second)
		peer.requireOpen()
		peer.send(" and ended\n")
		require.NoError(t, (<-peer.ended).err)
		require.Equal(t, "begun and ended\n", line)
		require.Equal(t, coserver.TimedOutStats{Read: 5}, peer.timedOut())
	})
}

// A peer that takes byte by byte does not win any time by it.
func TestWriteTimeoutOfTheServer(t *testing.T) {
	write := map[string]func(*coserver.Conn) error{
		"Write":    func(c *coserver.Conn) error { _, err := c.Write(make([]byte, 10_000)); return err },
		"Writev":   func(c *coserver.Conn) error { _, err := c.Writev([][]byte{make([]byte, 10_000)}); return err },
		"ReadFrom": func(c *coserver.Conn) error { _, err := c.ReadFrom(bytes.NewReader(make([]byte, 10_000))); return err },
	}
	for name, write := range write {
		t.Run(name, func(t *testing.T) {
			onLimited(t, systest.Options{SendBuffer: 1000, Window: 1000}, write, func(t *testing.T, peer *limited) {
				for range 60 {
					if len(peer.ended) > 0 {
						break
					}
					peer.Read(make([]byte, 1))
					time.Sleep(time.Second / 2)
				}
				peer.requireCut(coserver.ErrWriteTimeout, writeTimeout)
				require.Equal(t, coserver.TimedOutStats{Write: 1}, peer.timedOut())
			})
		})
	}
}

// Each Write has its time.
func TestEachWriteHasItsTime(t *testing.T) {
	onLimited(t, systest.Options{SendBuffer: 1000, Window: 1000}, func(c *coserver.Conn) error {
		for range 20 {
			if _, err := c.Write(make([]byte, 1000)); err != nil {
				return err
			}
		}
		return nil
	}, func(t *testing.T, peer *limited) {
		for len(peer.ended) == 0 {
			peer.Read(make([]byte, 1000))
			time.Sleep(writeTimeout - time.Second)
		}
		require.NoError(t, (<-peer.ended).err)
	})
}

// A Write that takes too long loses nothing: what it says was taken is taken, and the rest can follow.
func TestHandlerGoesOnAfterAWriteTimeout(t *testing.T) {
	content := randomBytes(7, 20_000)
	onLimited(t, systest.Options{SendBuffer: 1000, Window: 1000}, func(c *coserver.Conn) error {
		if _, err := c.ReadSlice('\n'); err != nil {
			return err
		}
		// The first is gathered, for there is another line.
		if _, err := c.Write(content[:3000]); err != nil {
			return err
		}
		if _, err := c.ReadSlice('\n'); err != nil {
			return err
		}
		for rest := content[3000:]; len(rest) > 0; {
			n, err := c.Write(rest)
			if rest = rest[n:]; err != nil && !errors.Is(err, coserver.ErrWriteTimeout) {
				return err
			}
		}
		return nil
	}, func(t *testing.T, peer *limited) {
		peer.send("one\ntwo\n")
		time.Sleep(10 * writeTimeout)
		peer.requireOpen()
		var all []byte
		for buffer := make([]byte, 700); ; synctest.Wait() {
			n, err := peer.Read(buffer)
			all = append(all, buffer[:n]...)
			if err == io.EOF {
				break
			}
			if err == systest.ErrWouldBlock {
				time.Sleep(time.Second)
			}
		}
		require.True(t, bytes.Equal(content, all))
		require.NotZero(t, peer.timedOut().Write)
	})
}

// A peer that asks and does not take the answers is cut in time, also if these are gathered: the call that sends them is one that
// reads, or the end of the handler.
func TestWriteTimeoutOfGatheredOutput(t *testing.T) {
	answer := make([]byte, 3000)
	for name, handler := range map[string]func(*coserver.Conn) error{
		"reading": func(c *coserver.Conn) error {
			for {
				if _, err := c.ReadSlice('\n'); err != nil {
					return err
				}
				if _, err := c.Write(answer); err != nil {
					return err
				}
			}
		},
		"returning": func(c *coserver.Conn) error {
			if _, err := c.ReadSlice('\n'); err != nil {
				return err
			}
			_, err := c.Write(answer)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			onLimited(t, systest.Options{SendBuffer: 1000, Window: 1000}, handler, func(t *testing.T, peer *limited) {
				peer.send("one\ntwo")
				begin := time.Now()
				for peer.server.Stats().Active > 0 {
					time.Sleep(time.Millisecond)
					synctest.Wait()
				}
				require.InDelta(t, writeTimeout, time.Since(begin), float64(2*time.Millisecond))
				require.Equal(t, coserver.TimedOutStats{Write: 1}, peer.timedOut())
				if o := <-peer.ended; name == "reading" {
					require.ErrorIs(t, o.err, coserver.ErrWriteTimeout)
				}
				_, err := io.Copy(io.Discard, peer.Peer)
				require.ErrorIs(t, err, syscall.ECONNRESET)
			})
		})
	}
}

// What is long has its time for each megabyte.
func TestTimeoutsOfLongMessages(t *testing.T) {
	const size = 5 << 20
	options := systest.Options{SendBuffer: 2 << 20, Window: 2 << 20}
	for name, read := range map[string]func(*coserver.Conn) error{
		"ReadFull": func(c *coserver.Conn) error { _, err := c.ReadFull(make([]byte, size)); return err },
		"Discard":  func(c *coserver.Conn) error { _, err := c.Discard(size); return err },
	} {
		t.Run(name, func(t *testing.T) {
			onLimited(t, options, read, func(t *testing.T, peer *limited) {
				for range size >> 20 {
					peer.send(string(make([]byte, 1<<20)))
					time.Sleep(readTimeout - time.Second)
				}
				require.NoError(t, (<-peer.ended).err)
			})
			onLimited(t, options, read, func(t *testing.T, peer *limited) {
				peer.send(string(make([]byte, 1<<20)))
				time.Sleep(time.Second)
				peer.drip(time.Second/2, 60)
				o := <-peer.ended
				require.ErrorIs(t, o.err, coserver.ErrReadTimeout)
				require.LessOrEqual(t, o.after, 2*time.Second+readTimeout)
			})
		})
	}
	t.Run("Write", func(t *testing.T) {
		onLimited(t, systest.Options{SendBuffer: 1 << 20, Window: 1 << 20}, func(c *coserver.Conn) error {
			_, err := c.Write(make([]byte, size))
			return err
		}, func(t *testing.T, peer *limited) {
			for range size >> 20 {
				time.Sleep(writeTimeout - time.Second)
				for n := 0; n < 1<<20; {
					got, err := peer.Read(make([]byte, 1<<20-n))
					if err != nil {
						break
					}
					n += got
				}
			}
			require.NoError(t, (<-peer.ended).err)
		})
	})
}

// Without timeouts a connection may be as slow as it likes; with some, only these count.
func TestTimeoutsThatAreNotSet(t *testing.T) {
	for name, s := range map[string]*coserver.Server{
		"none":  {},
		"write": {WriteTimeout: time.Second},
		"read":  {ReadTimeout: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			s.Handler = echoLine
			onFake(t, systest.Options{}, s, func(peer *systest.Peer) {
				time.Sleep(24 * time.Hour)
				for _, text := range []string{"slow", "ly\n"} {
					_, err := peer.Write([]byte(text))
					require.NoError(t, err)
					time.Sleep(time.Minute)
				}
				answer := make([]byte, 10)
				n, err := peer.Read(answer)
				require.NoError(t, err)
				require.Equal(t, "slowly\n", string(answer[:n]))
				require.Zero(t, s.Stats().TimedOut)
			})
		})
	}
}

// faults.md X1: clients that never get to the end of a header or of a body are cut in time, and hold up nobody.
func TestSlowHeadersAndBodies(t *testing.T) {
	const headers, bodies = 500, 300
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		s := &coserver.Server{Carrier: carrier, IdleTimeout: idleTimeout, ReadTimeout: readTimeout, Handler: func(c *coserver.Conn) error {
			for {
				if _, err := c.ReadSlice('\n'); err != nil {
					return err
				}
				if _, err := c.ReadFull(make([]byte, 50)); err != nil {
					return err
				}
				if _, err := c.Write([]byte("OK")); err != nil {
					return err
				}
			}
		}}
		onFakeServer(t, systest.Options{}, s, func(f *fake) {
			var slow []*systest.Peer
			for i := range headers + bodies {
				peer := f.connect()
				if i >= headers {
					_, err := peer.Write([]byte("header\n"))
					require.NoError(f, err)
				}
				slow = append(slow, peer)
			}
			good := f.connect()
			for range 15 {
				for _, peer := range slow {
					peer.Write([]byte("x")) // those that are cut take no more
				}
				_, err := good.Write(append([]byte("header\n"), make([]byte, 50)...))
				require.NoError(f, err)
				synctest.Wait()
				answer := make([]byte, 10)
				n, err := good.Read(answer)
				require.NoError(f, err)
				require.Equal(f, "OK", string(answer[:n]))
				time.Sleep(time.Second)
			}
			stats := s.Stats()
			require.EqualValues(f, headers+bodies, stats.TimedOut.Read)
			require.Equal(f, 1, stats.Active)
			require.Zero(f, stats.HandlerErrors)
		})
	})
}

// faults.md X2: clients that take next to nothing of their answers are cut in time, and the kernel's memory for them is free.
func TestSlowReaders(t *testing.T) {
	const readers = 200
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		s := &coserver.Server{Carrier: carrier, WriteTimeout: writeTimeout, Handler: func(c *coserver.Conn) error {
			_, err := c.Write(make([]byte, 256<<10))
			return err
		}}
		onFakeServer(t, systest.Options{Window: 512}, s, func(f *fake) {
			var peers []*systest.Peer
			for i := range readers {
				peer := f.connect()
				if i%2 == 0 {
					peer.SetWindow(0)
				}
				peers = append(peers, peer)
			}
			for range 10 {
				for _, peer := range peers {
					peer.Read(make([]byte, 1))
				}
				time.Sleep(time.Second)
			}
			synctest.Wait()
			stats := s.Stats()
			require.EqualValues(f, readers, stats.TimedOut.Write)
			require.Zero(f, stats.Active)
			for _, name := range f.kernel.Open() {
				require.NotContains(f, name, "connection")
			}
		})
	})
}

// What comes faster than AcceptRate waits in the backlog, and no connection comes too early or is lost.
func TestAcceptRate(t *testing.T) {
	for name, test := range map[string]struct{ rate, burst, first int }{
		"burst":    {10, 5, 5},
		"one":      {10, 1, 1},
		"a second": {10, 0, 10},
	} {
		t.Run(name, func(t *testing.T) {
			var served atomic.Int64
			s := &coserver.Server{AcceptRate: test.rate, AcceptBurst: test.burst, Handler: func(c *coserver.Conn) error {
				served.Add(1)
				return echoNext(c)
			}}
			onFakeServer(t, systest.Options{}, s, func(f *fake) {
				time.Sleep(time.Hour) // a quiet time saves up a burst, and no more
				for range 2 {
					begin := served.Load()
					for range 60 {
						f.connect()
					}
					for tick := range 6 {
						require.EqualValues(f, test.first+tick*test.rate/2, served.Load()-begin)
						time.Sleep(time.Second / 2)
						synctest.Wait()
					}
					time.Sleep(time.Minute)
					synctest.Wait()
					require.EqualValues(f, 60, served.Load()-begin)
				}
				require.NotZero(f, s.Stats().Paused.AcceptRate)
				require.Zero(f, s.Stats().Refused)
			})
		})
	}
}
