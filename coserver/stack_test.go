package coserver_test

import (
	"flag"
	"fmt"
	"net"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

var deepFlag = flag.Int("deep", 1000, "connections whose handlers run deep in TestStackIsGivenBack")

const (
	// deepFrames frames of a kilobyte make a stack grow to 64 KiB.
	deepFrames = 40

	// A collection halves a stack of which less than a quarter is in use.
	collectionsToShrink = 6

	// mostLeft is the most that is left of a stack in the end, and what a connection may have in any case. A stack of 4 KiB stays as
	// it is, for the reserve that the runtime keeps counts as used; with -race that is twice as large, and 8 KiB stay.
	mostLeft = 8 << 10

	// stackMargin is for stacks that the runtime keeps for the next goroutines. What is found is 1.0.
	stackMargin = 1.25
)

// deepSum is what deep returns for deepFrames.
const deepSum = byte(deepFrames * (deepFrames + 1) / 2 % 256)

// deep uses so many frames of a kilobyte, and returns something that depends on all of them.
//
//go:noinline
func deep(frames int) byte {
	var frame [1024]byte
	frame[frames%len(frame)] = byte(frames)
	if frames == 0 {
		return frame[0]
	}
	return deep(frames-1) + frame[frames%len(frame)]
}

// stackInUse returns the bytes of memory that are stacks.
func stackInUse() float64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(sample)
	return float64(sample[0].Value.Uint64())
}

// settled returns stackInUse after each of some garbage collections.
func settled() (after []float64) {
	for range collectionsToShrink {
		runtime.GC()
		after = append(after, stackInUse())
	}
	return after
}

// A handler that has once run deep does not keep the stack for it while it waits: some garbage collections later, the connections
// cost about what they did before.
func TestStackIsGivenBack(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			for {
				line, err := c.ReadSlice('\n')
				if err != nil {
					return err
				}
				if string(line) == "deep\n" && deep(deepFrames) != deepSum {
					return errTest
				}
				if _, err := c.Write(line); err != nil {
					return err
				}
			}
		}}, "tcp")
		last := collectionsToShrink - 1
		none := settled()[last]
		clients := make([]net.Conn, *deepFlag)
		for i := range clients {
			clients[i] = dial(t, addr)
			exchange(t, clients[i], "shallow\n")
		}
		before := settled()[last] - none
		percent := debug.SetGCPercent(-1) // not before all have run deep
		for _, c := range clients {
			exchange(t, c, "deep\n")
		}
		grown := stackInUse() - none
		debug.SetGCPercent(percent)
		after := settled()
		perConn := func(bytes float64) string { return fmt.Sprintf("%.1f", bytes/1024/float64(len(clients))) }
		figures := "KiB of stack for each connection: " + perConn(before) + " before, " + perConn(grown) + " deep; after collections"
		for i := range after {
			after[i] -= none
			figures += " " + perConn(after[i])
		}
		t.Log(figures)
		require.Greater(t, grown, float64(len(clients)*deepFrames<<10), "they have run deep")
		require.LessOrEqual(t, after[last], stackMargin*float64(len(clients)*mostLeft))
	})
}
