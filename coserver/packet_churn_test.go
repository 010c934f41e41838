package coserver_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// Peers come and go at random, handlers return, wait, sleep, write too much and fall at random; at no time there are more sessions or more that waits than there
// may be, none serves a peer beside another, no datagram is another's, and in the end nothing is left.
func TestPacketSessionsUnderChurn(t *testing.T) {
	const maxSessions, clients = 8, 16
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		seed := time.Now().UnixNano()
		t.Logf("seed %d", seed)
		var active, most atomic.Int64
		var inside sync.Map
		s := &coserver.PacketServer{
			Carrier: carrier, MaxSessions: maxSessions, MaxWaiting: 4, QueuePolicy: coserver.DropOldest, IdleTimeout: 20 * time.Millisecond,
			OnError: func(*coserver.PacketSession, error) {},
		}
		s.Handler = func(session *coserver.PacketSession) error {
			if n := active.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer active.Add(-1)
			if _, twice := inside.LoadOrStore(session.Peer(), true); twice {
				t.Error("two handlers for one peer")
			}
			defer inside.Delete(session.Peer())
			random := rand.New(rand.NewPCG(uint64(seed), uint64(session.Peer().Port())))
			buffer := make([]byte, 100)
			for {
				n, err := session.Read(buffer)
				if err != nil {
					return err
				}
				for range 1 + random.IntN(3) {
					if _, err := session.Write(buffer[:n]); err != nil {
						return err
					}
				}
				switch random.IntN(30) {
				case 0:
					return nil
				case 1:
					panic("as may happen")
				case 2:
					runtime.Goexit()
				case 3:
					session.Close()
				case 4:
					time.Sleep(2 * time.Millisecond) // blocks its loop until that is taken over
				case 5:
					if err := coserver.Sleep(session.ServerContext(), time.Millisecond); err != nil {
						return err
					}
				case 6:
					session.SetReadDeadline(time.Now().Add(time.Millisecond))
				case 7:
					go session.Close()
				}
			}
		}
		addr := startPackets(t, s)
		// What an earlier life has sent from the same port may be answered late. What was never sent from it may not.
		type sending struct{ from, message string }
		var sent sync.Map
		var all sync.WaitGroup
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		for client := range clients {
			all.Go(func() {
				random := rand.New(rand.NewPCG(uint64(seed), uint64(client)))
				for life := 0; ctx.Err() == nil; life++ {
					c, err := net.Dial("udp", addr.String())
					if err != nil {
						t.Error(err)
						return
					}
					message := fmt.Sprintf("client %d, life %d", client, life)
					from := c.LocalAddr().String()
					sent.Store(sending{from, message}, true)
					for range random.IntN(50) {
						if _, err := io.WriteString(c, message); err != nil {
							t.Error(err)
						}
						if random.IntN(3) > 0 {
							continue
						}
						answer := make([]byte, 100)
						c.SetReadDeadline(time.Now().Add(time.Duration(random.IntN(5)) * time.Millisecond))
						n, err := c.Read(answer)
						if _, own := sent.Load(sending{from, string(answer[:n])}); err == nil && !own || err != nil && !os.IsTimeout(err) {
							t.Errorf("got %q, %v, want %q or nothing", answer[:n], err, message)
						}
					}
					c.Close()
				}
			})
		}
		all.Wait()
		require.LessOrEqual(t, most.Load(), int64(maxSessions))
		eventually(t, func() bool { stats := s.Stats(); return stats.Active == 0 && stats.Waiting == 0 }, "all sessions are over")
		require.Zero(t, active.Load())
		stats := s.Stats()
		require.NotZero(t, stats.Dropped.MaxSessions)
		require.NotZero(t, stats.Panics)
		require.Zero(t, coserver.LeftPacketSessions(s))
	})
}
