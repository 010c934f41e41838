package coserver_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/poller/sys/systest"
)

// With a DrainRate Shutdown ends so many connections in a second, and no more; the others are served until then.
func TestDrainRate(t *testing.T) {
	const count = 30
	for _, rate := range []int{1, 10, 1000} {
		onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
			s := &coserver.Server{Handler: echoLine, Carrier: carrier, DrainRate: rate}
			onFakeServer(t, systest.Options{}, s, func(f *fake) {
				var peers []*systest.Peer
				for range count {
					peers = append(peers, f.connect())
				}
				busy := f.connect()
				_, err := busy.Write([]byte("begun"))
				require.NoError(f, err)
				synctest.Wait()
				down := make(chan error, 1)
				begin := time.Now()
				go func() { down <- s.Shutdown(context.Background()) }()
				most := time.Duration(count+1) * time.Second / time.Duration(rate)
				step := max(most/20, time.Millisecond)
				for elapsed := time.Duration(0); elapsed < most+10*time.Millisecond; elapsed += step {
					synctest.Wait()
					ended := 0
					for _, peer := range peers {
						if _, err := peer.Write([]byte("served\n")); err != nil {
							ended++
							continue
						}
						synctest.Wait()
						answer := make([]byte, 20)
						n, err := peer.Read(answer)
						if err != nil { // the end, or a reset because of what was written after it
							require.NotEqual(f, systest.ErrWouldBlock, err)
							ended++
							continue
						}
						require.Equal(f, "served\n", string(answer[:n]))
					}
					require.LessOrEqual(f, ended, 1+int(time.Since(begin).Seconds()*float64(rate)+0.001))
					require.GreaterOrEqual(f, ended, int((time.Since(begin)-10*time.Millisecond).Seconds()*float64(rate))-1)
					time.Sleep(step)
				}
				synctest.Wait()
				require.Empty(f, down, "a request is being served")
				_, err = busy.Write([]byte("ended\n"))
				require.NoError(f, err)
				require.NoError(f, <-down)
				require.Zero(f, s.Stats().Active)
			})
		})
	}
}

// The deadline of Shutdown holds also if the rate would take longer.
func TestDrainRateForcesAtTheDeadline(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		s := &coserver.Server{Handler: echoLine, Carrier: carrier, DrainRate: 1}
		onFakeServer(t, systest.Options{}, s, func(f *fake) {
			for range 100 {
				f.connect()
			}
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			begin := time.Now()
			require.ErrorIs(f, s.Shutdown(ctx), context.DeadlineExceeded)
			require.Equal(f, 5*time.Second, time.Since(begin))
			synctest.Wait()
			require.Zero(f, s.Stats().Active)
			time.Sleep(10 * time.Second) // what drained must have noticed
		})
	})
}
