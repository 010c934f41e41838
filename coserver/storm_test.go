package coserver_test

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/poller/pollertest/steady"
)

// faults.md N3: a storm of short connections starves nobody, neither those that are there nor those of the storm.
func TestStormBesideBusyConnections(t *testing.T) {
	rounds, span, clients, period := 1, 100*time.Millisecond, 20, 5*time.Millisecond
	if steady.Long() {
		rounds, span, clients, period = 3, 5*time.Second, 1000, 200*time.Millisecond
	}
	for _, shared := range []bool{false, true} {
		onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
			s := &coserver.Server{Carrier: carrier, Handler: echoNext, ReusePort: shared}
			addr := start(t, s, "tcp")
			others := steady.Start(t, addr, clients, period)
			var visits atomic.Int64
			_, stormy := others.Compare(rounds, span, func() {
				end := time.Now().Add(span)
				var all sync.WaitGroup
				for range 4 {
					all.Go(func() {
						for time.Now().Before(end) {
							served, err := visitByte(addr, 'r')
							if !noError(t, err) {
								return
							}
							if !served {
								t.Error("a visitor is not served")
								return
							}
							visits.Add(1)
						}
					})
				}
				all.Wait()
			})
			t.Logf("%.0f connections/s", float64(visits.Load())/(float64(rounds)*span.Seconds()))
			if steady.Long() {
				require.Less(t, stormy, 100*time.Millisecond)
			}
			eventually(t, func() bool { return s.Stats().Accepted == uint64(visits.Load())+uint64(clients) }, "one is lost")
		})
	}
}

// faults.md X1: very many peers that send byte by byte are cut when their time is over, each of them, and hold up nobody until then.
func TestSlowPeersBesideOthers(t *testing.T) {
	slow, drip, limit, clients, period, span := 200, 20*time.Millisecond, 300*time.Millisecond, 10, 5*time.Millisecond, 20*time.Millisecond
	if steady.Long() {
		slow, drip, limit, clients, period, span = 5000, 10*time.Second, 25*time.Second, 200, 50*time.Millisecond, 3*time.Second
	}
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		s := &coserver.Server{Carrier: carrier, Handler: echoLine, ReadTimeout: limit, IdleTimeout: time.Hour}
		addr := start(t, s, "tcp")
		others := steady.Start(t, addr, clients, period)
		spans := func() time.Duration {
			var p99s []time.Duration
			for range 5 {
				p99s = append(p99s, others.During(func() { time.Sleep(span) })) // what is measured is this time
			}
			return steady.Median(p99s)
		}
		alone := spans()
		lives := make(chan time.Duration, slow)
		for range slow {
			c, err := net.DialTimeout("tcp", addr.String(), patience)
			require.NoError(t, err)
			go func() {
				defer c.Close()
				life, err := lifeOfSlowPeer(c, drip)
				noError(t, err)
				lives <- life
			}()
		}
		beside := spans()
		steady.Within(t, 1.5, alone, beside)
		for range slow {
			var life time.Duration
			select {
			case life = <-lives:
			case <-time.After(limit + patience):
				require.FailNow(t, "a slow peer is not cut")
			}
			require.GreaterOrEqual(t, life, limit-time.Millisecond) // it begins when the server waits, a little later
			if steady.Long() {
				require.Less(t, life, limit+time.Second)
			}
		}
		eventually(t, func() bool { return s.Stats().TimedOut == coserver.TimedOutStats{Read: uint64(slow)} }, "they are not counted")
		eventually(t, func() bool { return s.Stats().Active == clients }, "one is left")
	})
}

// lifeOfSlowPeer sends a byte in a period, and returns after what time the other side has ended the connection.
func lifeOfSlowPeer(c net.Conn, period time.Duration) (time.Duration, error) {
	begin := time.Now()
	for one := []byte("x"); ; {
		if _, err := c.Write(one); err != nil {
			return time.Since(begin), nil
		}
		if err := c.SetReadDeadline(time.Now().Add(period)); err != nil {
			return 0, err
		}
		if _, err := c.Read(one[:1]); !errors.Is(err, os.ErrDeadlineExceeded) {
			return time.Since(begin), nil
		}
	}
}
