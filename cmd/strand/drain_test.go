//go:build unix

package main_test

import (
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// faults.md S6: a server that is told to end while clients come by the thousand ends well, in its time, and what it has begun to answer
// arrives whole.
func TestDrainUnderLoad(t *testing.T) {
	for _, engine := range everyEngine {
		t.Run(engine, func(t *testing.T) {
			s := serve(t, nil, append(strings.Fields("--proto line --engine"), strings.Fields(engine)...)...)
			var answered atomic.Int64
			var over atomic.Bool // or they would go on with whoever listens there next
			var all sync.WaitGroup
			for i := range 8 {
				all.Go(func() {
					for ended := false; !ended && !over.Load(); {
						n, err := askForALine(s.addr, i)
						switch {
						case err == nil:
							answered.Add(1)
						case n > 0:
							t.Errorf("cut after %d bytes of an answer: %v", n, err)
							return
						default:
							ended = errors.Is(err, syscall.ECONNREFUSED)
						}
					}
				})
			}
			require.Eventually(t, func() bool { return answered.Load() > 500 }, patience, time.Millisecond)
			began := time.Now()
			require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
			s.requireEnd(t)
			over.Store(true)
			require.Less(t, time.Since(began), 5*time.Second) // the default of --drain
			all.Wait()
		})
	}
}

// askForALine is a short connection with one question. It returns how much of the answer has come.
func askForALine(addr string, seed int) (n int, err error) {
	c, err := dialClient(addr, seed)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	line := []byte(strings.Repeat("x", 2000) + "\n")
	if _, err := c.Write(line); err != nil {
		return 0, err
	}
	return io.ReadFull(c, line)
}
