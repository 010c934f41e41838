package coserver_test

import (
	"context"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// witness is an observer that keeps what it is told.
type witness struct {
	opened, closed chan *coserver.Conn
	endings        chan coserver.Ending
	takenOver      chan time.Duration
}

func newWitness() *witness {
	return &witness{make(chan *coserver.Conn, 1000), make(chan *coserver.Conn, 1000), make(chan coserver.Ending, 1000), make(chan time.Duration, 1000)}
}

func (w *witness) observer() *coserver.Observer {
	return &coserver.Observer{
		Opened: func(c *coserver.Conn) { w.opened <- c },
		Closed: func(c *coserver.Conn, e coserver.Ending) {
			w.closed <- c
			w.endings <- e
		},
		TakenOver: func(_ *coserver.Conn, kept time.Duration) { w.takenOver <- kept },
	}
}

// An observer is told of each connection when it comes and when it goes, why, and what it has moved.
func TestObserver(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		for _, c := range []struct {
			name  string
			end   func(t *testing.T, client net.Conn, server *coserver.Conn)
			cause func(t *testing.T, cause error)
		}{
			{"the client ends it", func(t *testing.T, client net.Conn, _ *coserver.Conn) {
				require.NoError(t, client.(*net.TCPConn).CloseWrite())
				expectEOF(t, client)
			}, func(t *testing.T, cause error) { require.Equal(t, io.EOF, cause) }},
			{"the client resets it", func(t *testing.T, client net.Conn, _ *coserver.Conn) {
				reset(t, client.(*net.TCPConn))
			}, func(t *testing.T, cause error) { require.ErrorContains(t, cause, "connection reset by peer") }},
			{"the handler returns", func(t *testing.T, client net.Conn, _ *coserver.Conn) {
				exchange(t, client, "nil!")
				expectEOF(t, client)
			}, func(t *testing.T, cause error) { require.Equal(t, net.ErrClosed, cause) }},
			{"the handler fails", func(t *testing.T, client net.Conn, _ *coserver.Conn) {
				exchange(t, client, "fail")
				expectEOF(t, client)
			}, func(t *testing.T, cause error) { require.Equal(t, errTest, cause) }},
			{"the handler panics", func(t *testing.T, client net.Conn, _ *coserver.Conn) {
				exchange(t, client, "fall")
				expectEnd(t, client)
			}, func(t *testing.T, cause error) {
				var panicked *coserver.PanicError
				require.ErrorAs(t, cause, &panicked)
				require.Equal(t, errTest, panicked.Value)
			}},
			{"the handler exits", func(t *testing.T, client net.Conn, _ *coserver.Conn) {
				exchange(t, client, "exit")
				expectEnd(t, client)
			}, func(t *testing.T, cause error) { require.Equal(t, coserver.ErrHandlerExited, cause) }},
			{"somebody kicks it", func(t *testing.T, client net.Conn, server *coserver.Conn) {
				require.NoError(t, server.CloseWithCause(errTest))
				expectEOF(t, client)
				require.ErrorIs(t, server.CloseWithCause(errTest), net.ErrClosed)
				require.Equal(t, errTest, context.Cause(server.Context()))
			}, func(t *testing.T, cause error) { require.Equal(t, errTest, cause) }},
			{"somebody closes it", func(t *testing.T, client net.Conn, server *coserver.Conn) {
				require.NoError(t, server.CloseWithCause(nil))
				expectEOF(t, client)
			}, func(t *testing.T, cause error) { require.Equal(t, net.ErrClosed, cause) }},
		} {
			t.Run(c.name, func(t *testing.T) {
				w := newWitness()
				s := &coserver.Server{Carrier: carrier, Observer: w.observer(), OnError: func(*coserver.Conn, error) {}, Handler: func(c *coserver.Conn) error {
					var message [4]byte
					for {
						if _, err := c.ReadFull(message[:]); err != nil {
							return err
						}
						if _, err := c.Write(message[:]); err != nil {
							return err
						}
						switch string(message[:]) {
						case "nil!":
							return nil
						case "fail":
							return errTest
						case "fall":
							panic(errTest)
						case "exit":
							runtime.Goexit()
						}
					}
				}}
				client := dial(t, start(t, s, "tcp"))
				exchange(t, client, "ping")
				server := receive(t, w.opened)
				require.Equal(t, client.LocalAddr().String(), server.RemoteAddr().String())
				require.Empty(t, w.closed)
				c.end(t, client, server)
				require.Same(t, server, receive(t, w.closed))
				e := receive(t, w.endings)
				c.cause(t, e.Cause)
				require.Positive(t, e.Age)
				require.Less(t, e.Age, patience)
				bytes := uint64(4)
				if strings.HasPrefix(c.name, "the handler") {
					bytes = 8
				}
				require.Equal(t, bytes, e.Received)
				require.Equal(t, bytes, e.Sent)
				require.LessOrEqual(t, e.Unacked, e.Sent)
			})
		}
	})
}

// Each Opened has its Closed, whatever befalls a server, and the Closed comes before the connection is no longer counted.
func TestObserverUnderChurn(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		var mu sync.Mutex
		open := make(map[uint64]*coserver.Conn)
		seen, closed := 0, 0
		var c crowd
		s := crowded(carrier, &c)
		s.Observer = &coserver.Observer{
			Opened: func(c *coserver.Conn) {
				mu.Lock()
				defer mu.Unlock()
				seen++
				open[c.ID()] = c
			},
			Closed: func(c *coserver.Conn, e coserver.Ending) {
				mu.Lock()
				defer mu.Unlock()
				if open[c.ID()] == c && e.Cause != nil {
					closed++
				}
				delete(open, c.ID())
			},
		}
		addr := start(t, s, "tcp")
		var clients sync.WaitGroup
		for i := range 8 {
			clients.Go(func() {
				for j := range 20 {
					_, err := visitByte(addr, endsOf[(i+j)%len(endsOf)])
					noError(t, err)
				}
			})
		}
		for range 200 { // somebody looks and kicks meanwhile
			for c := range s.Conns() {
				if id := c.ID(); id%16 == 0 {
					if c := s.Conn(id); c != nil {
						_ = c.CloseWithCause(errTest) // it may be over
					}
				}
				_ = c.Stats()
			}
			runtime.Gosched()
		}
		clients.Wait()
		require.NoError(t, s.Close())
		eventually(t, func() bool { return s.Stats().Active == 0 }, "all are over")
		mu.Lock()
		defer mu.Unlock()
		require.Empty(t, open)
		require.Equal(t, seen, closed)
		require.EqualValues(t, seen, s.Stats().Accepted)
	})
}

// A handler that was taken over is told of when it is back, with how long it was away; until then it is counted.
func TestObserverOfATakeOver(t *testing.T) {
	for _, carrier := range []coserver.Carrier{coserver.Auto, coserver.Inline} {
		for _, how := range []string{"goes on", "returns", "panics"} {
			t.Run(carrier.String()+" "+how, func(t *testing.T) {
				engine := oneLoop(t)
				w := newWitness()
				until := make(chan struct{})
				s := &coserver.Server{Engine: engine, Carrier: carrier, Observer: w.observer(), OnError: func(*coserver.Conn, error) {}, Handler: func(c *coserver.Conn) error {
					data, err := c.Next()
					if err != nil {
						return err
					}
					<-until
					switch how {
					case "returns":
						return nil
					case "panics":
						panic(errTest)
					}
					if _, err := c.Write(data); err != nil {
						return err
					}
					return echoNext(c)
				}}
				client := dial(t, start(t, s, "tcp"))
				_, err := io.WriteString(client, "x")
				require.NoError(t, err)
				eventually(t, func() bool { return engine.Stats().Away == 1 }, "it is taken over")
				require.EqualValues(t, 1, engine.Stats().TakeOvers)
				require.Zero(t, engine.Stats().AwayFor)
				conn := receive(t, w.opened)
				require.Equal(t, coserver.Apart, conn.Stats().CarriedBy)
				require.Same(t, conn, s.Conn(conn.ID()))
				require.Empty(t, w.takenOver)
				close(until)
				kept := receive(t, w.takenOver)
				require.Positive(t, kept)
				if how == "goes on" {
					_, err := io.ReadFull(client, make([]byte, 1))
					require.NoError(t, err)
					exchange(t, client, "again")
					client.Close()
				} else {
					expectEnd(t, client)
				}
				receive(t, w.closed)
				require.Empty(t, w.takenOver)
				require.Zero(t, engine.Stats().Away)
				require.Equal(t, kept, engine.Stats().AwayFor)
			})
		}
	}
}

// A loop whose lag is measured is on time when it has nothing to do, and one that is held up is seen to be late while it is.
func TestLoopLag(t *testing.T) {
	told := make(chan time.Duration, 10_000)
	engine := newEngine(t, coserver.EngineConfig{Loops: 2, TakeOverAfter: -1, LagInterval: time.Millisecond, OnLoopLag: func(loop int, lag time.Duration) {
		if loop == 0 {
			select {
			case told <- lag:
			default:
			}
		}
	}})
	require.Positive(t, receive(t, told))
	until := make(chan struct{})
	coserver.LoopOf(engine, 0).Post(runner(func() { <-until }))
	const late = 20 * time.Millisecond
	eventually(t, func() bool { return engine.Stats().Loops[0].Lag.Latest >= late }, "the measurement that goes on shows it")
	close(until)
	for receive(t, told) < late {
	}
	eventually(t, func() bool { return engine.Stats().Loops[0].Lag.Longest >= late }, "it is counted")
	for i, l := range engine.Stats().Loops {
		eventually(t, func() bool { return engine.Stats().Loops[i].Lag.Measured > 10 }, "both loops are measured")
		require.Positive(t, l.Lag.Total)
		below := uint64(0)
		for i, bucket := range l.Lag.Within {
			require.GreaterOrEqual(t, bucket.Count, below)
			below = bucket.Count
			require.True(t, i == 0 || bucket.Limit > l.Lag.Within[i-1].Limit)
		}
		require.LessOrEqual(t, below, l.Lag.Measured)
	}
	_, err := coserver.NewEngine(coserver.EngineConfig{LagInterval: -1})
	require.ErrorContains(t, err, "EngineConfig.LagInterval is -1ns")
}

type runner func()

func (r runner) RunOnLoop() { r() }

// Nothing is measured that nobody has asked for.
func TestNoLoopLag(t *testing.T) {
	engine := newEngine(t, coserver.EngineConfig{Loops: 1})
	exchange(t, dial(t, start(t, &coserver.Server{Engine: engine, Handler: echoNext}, "tcp")), "x")
	require.Zero(t, engine.Stats().Loops[0].Lag)
}

// An engine counts what its loops do.
func TestEngineStats(t *testing.T) {
	engine := newEngine(t, coserver.EngineConfig{Loops: 2, TakeOverAfter: -1})
	before := engine.Stats()
	require.Len(t, before.Loops, 2)
	require.Zero(t, before.Goroutines)
	s := &coserver.Server{Engine: engine, Carrier: coserver.Channel, Handler: echoNext}
	addr := start(t, s, "tcp")
	a, b := dial(t, addr), dial(t, addr)
	for range 10 {
		exchange(t, a, "x")
		exchange(t, b, "x")
	}
	now := engine.Stats()
	require.Equal(t, 2, now.Goroutines)
	for i, l := range now.Loops {
		require.Equal(t, 1, l.Conns, i)
		eventually(t, func() bool { // a turn counts when it is over
			l := engine.Stats().Loops[i]
			return l.Events >= before.Loops[i].Events+10 && l.Turns >= before.Loops[i].Turns+10
		}, "what the loops have done is counted")
	}
	// What is posted to a loop that is busy is to be seen.
	until, begun := make(chan struct{}), make(chan struct{})
	l := coserver.LoopOf(engine, 0)
	l.Post(runner(func() { close(begun); <-until }))
	receive(t, begun)
	for range 3 {
		l.Post(runner(func() {}))
	}
	require.Equal(t, 3, engine.Stats().Loops[0].Posted)
	close(until)
	eventually(t, func() bool { return engine.Stats().Loops[0].Posted == 0 }, "it is done")
}
