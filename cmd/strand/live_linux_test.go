package main_test

import (
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/poller/pollertest/steady"
)

// faults.md X5: a server runs out of descriptors again and again while it serves others: these do not notice, it does next to nothing
// about it, and whenever a descriptor is free a client that waits is served at once.
func TestDescriptorsRunOutBesideOthers(t *testing.T) {
	const spare, waiting = 40, 20
	live, episodes, period, span := 30, 3, 20*time.Millisecond, 50*time.Millisecond
	if steady.Long() {
		live, episodes, period, span = 500, 10, time.Second, 2*time.Second
	}
	for _, engine := range everyEngine[1:] {
		t.Run(engine, func(t *testing.T) {
			descriptors := live + spare
			s := serveWithin(t, descriptors, engine)
			addr, err := net.ResolveTCPAddr("tcp", s.addr)
			require.NoError(t, err)
			others := steady.Start(t, addr, live, period)
			var worst time.Duration        // to be served after a descriptor is free
			var used, paused time.Duration // of processor time while there is none, and how long that was
			var usedAlone, quiet time.Duration
			since, usedBefore := time.Now(), processorTime(t, s.cmd.Process.Pid)
			alone, starved := others.Compare(episodes, span, func() {
				usedAlone += processorTime(t, s.cmd.Process.Pid) - usedBefore
				quiet += time.Since(since)
				defer func() { since, usedBefore = time.Now(), processorTime(t, s.cmd.Process.Pid) }()
				served := make(chan *client, spare+waiting)
				for i := range cap(served) {
					c, err := dialClient(s.addr, i)
					require.NoError(t, err)
					go func() {
						if err := c.exchange(100); err != nil {
							t.Error(err)
						}
						served <- c
					}()
				}
				highest := fmt.Sprintf("/proc/%d/fd/%d", s.cmd.Process.Pid, descriptors-1)
				require.Eventually(t, func() bool { _, err := os.Lstat(highest); return err == nil }, patience, time.Millisecond)
				before := processorTime(t, s.cmd.Process.Pid)
				time.Sleep(span) // what is measured is this time
				used += processorTime(t, s.cmd.Process.Pid) - before
				paused += span
				there := []*client{<-served} // and as many more as there is room for
				for range len(served) {
					there = append(there, <-served)
				}
				for range cap(served) - len(there) { // each that leaves makes room for one that waits
					freed := time.Now()
					require.NoError(t, there[0].Close())
					there = append(there[1:], <-served)
					worst = max(worst, time.Since(freed))
				}
				for _, c := range there {
					require.NoError(t, c.Close())
				}
			})
			steady.Within(t, 1.5, alone, starved)
			t.Logf("served within %v of a descriptor being free; %v of processor time in %v, alone %v in %v", worst, used, paused, usedAlone, quiet)
			if steady.Long() {
				require.Less(t, worst, 100*time.Millisecond)
				others := time.Duration(float64(usedAlone) * float64(paused) / float64(quiet)) // what they ask for costs the same as ever
				require.LessOrEqual(t, used-others, paused/20)
			}
		})
	}
}
