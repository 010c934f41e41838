package main_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/poller/pollertest/steady"
)

// residentMemory returns what a process has in memory (VmRSS of proc_pid_status(5)), in bytes.
func residentMemory(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	match := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(data)
	require.NotNil(t, match)
	kilobytes, err := strconv.Atoi(string(match[1]))
	require.NoError(t, err)
	return kilobytes << 10
}

// faults.md M3, X2: peers that send for as long as they can and read nothing cost what an engine holds for one connection, and no
// more: what is beyond stays in the kernel, and with the peer. Nothing is done about them meanwhile, others are served, and when they
// are gone so is what they held.
func TestPeersThatNeverRead(t *testing.T) {
	peers, span := 50, 100*time.Millisecond
	if steady.Long() {
		peers, span = 1000, 3*time.Second
	}
	for _, engine := range []struct {
		args string
		each int // for one connection: what an engine documents, and the stack of the handler, a kilobyte or two, and room for growth
	}{
		{"coserver --carrier inline", (64 + 16 + 16) << 10},  // the lent buffer of Next and what Write gathers
		{"coserver --carrier channel", (64 + 16 + 16) << 10}, // the same
		{"loop", (2*256 + 64 + 16) << 10},                    // output up to Service.HighWater, in memory that grows by doubling, and one read more
	} {
		t.Run(engine.args, func(t *testing.T) {
			const collector = 32 << 20 // what the program has for itself, and what the garbage collector lets grow
			s := serve(t, nil, strings.Fields("--engine "+engine.args)...)
			pid := s.cmd.Process.Pid
			other := s.dial(t)
			before := residentMemory(t, pid)
			var stalled []*client
			for i := range peers {
				c, err := dialClient(s.addr, i)
				require.NoError(t, err)
				defer c.Close()
				require.NoError(t, c.SetReadBuffer(4<<10))
				require.NoError(t, c.SetWriteBuffer(64<<10))
				stalled = append(stalled, c)
			}
			done := make(chan error, peers)
			for _, c := range stalled {
				go func() { done <- sendFor(c, 5*span) }()
			}
			for range peers {
				require.NoError(t, <-done)
			}
			most := before + peers*engine.each + collector
			require.LessOrEqual(t, residentMemory(t, pid), most)
			s.exchange(t, other)
			var busy time.Duration
			idle := func() bool { // it comes to rest: on a busy machine what is in its buffers takes its time
				busy = processorTime(t, pid)
				time.Sleep(span) // what is measured is this time
				busy = processorTime(t, pid) - busy
				return busy <= span/20+tick
			}
			for begin := time.Now(); !idle(); {
				require.Less(t, time.Since(begin), patience, "%v of processor time in %v", busy, span)
			}
			t.Logf("%d KiB before, %d with %d peers; %v of processor time in %v", before>>10, residentMemory(t, pid)>>10, peers, busy, span)
			require.LessOrEqual(t, residentMemory(t, pid), most)
			for _, c := range stalled {
				require.NoError(t, c.SetLinger(0))
				require.NoError(t, c.Close())
			}
			s.exchange(t, other)
			sockets := func() int {
				all, _ := socketsOf(t, pid)
				return len(all)
			}
			require.Eventually(t, func() bool { return sockets() == 2 }, patience, time.Millisecond, "the listener and the other are left")
		})
	}
}

// sendFor sends as much as there is room for in a time.
func sendFor(c *client, span time.Duration) error {
	if err := c.SetWriteDeadline(time.Now().Add(span)); err != nil {
		return err
	}
	for block := make([]byte, 64<<10); ; {
		if _, err := c.Write(block); os.IsTimeout(err) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func descriptorsOf(t *testing.T, pid int) (targets []string) {
	t.Helper()
	directory := fmt.Sprintf("/proc/%d/fd/", pid)
	entries, err := os.ReadDir(directory)
	require.NoError(t, err)
	for _, entry := range entries {
		if target, err := os.Readlink(directory + entry.Name()); err == nil { // it is not closed meanwhile
			targets = append(targets, target)
		}
	}
	return targets
}
