package server

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Names of the ways to block.
const (
	BlockSleep = "sleep" // time.Sleep
	BlockMutex = "mutex" // waits for a sync.Mutex that another goroutine holds
	BlockCPU   = "cpu"   // computes
	BlockPark  = "park"  // coserver.Sleep, which holds up no loop; with engine net it is time.Sleep
)

// Blocks returns the names of the ways to block.
func Blocks() []string { return []string{BlockSleep, BlockMutex, BlockCPU, BlockPark} }

// Block says how the handlers of protocol block do so before they answer.
type Block struct {
	Kind  string        // one of Blocks
	For   time.Duration // for each piece of input that they get; more than 0
	Share Share         // of the connections, which are counted as their handlers begin; the others are plain echo
}

func (b Block) validate() error {
	if !slices.Contains(Blocks(), b.Kind) {
		return fmt.Errorf("block: unknown way to block %q (there are: %s)", b.Kind, strings.Join(Blocks(), ", "))
	}
	if b.For <= 0 {
		return fmt.Errorf("for: %v is not more than 0", b.For)
	}
	return nil
}

// blocking is what the connections of a server have in common that speaks protocol block.
type blocking struct {
	Block
	park      func(context.Context, time.Duration) error // the engine's own way to wait
	begun     atomic.Uint64                              // connections
	over      context.Context
	interrupt context.CancelFunc // ends over: nobody blocks any more
}

func newBlocking(b Block, park func(context.Context, time.Duration) error) *blocking {
	s := &blocking{Block: b, park: park}
	s.over, s.interrupt = context.WithCancel(context.Background())
	return s
}

// begin counts one more connection. It returns nil if that is not to block.
func (s *blocking) begin() *blocker {
	if !s.Share.Has(s.begun.Add(1) - 1) {
		return nil
	}
	b := &blocker{blocking: s}
	b.lock.Lock()
	return b
}

// blocker is a connection that blocks. Its handler's alone, but for the lock.
type blocker struct {
	*blocking
	lock sync.Mutex // the handler's, which lends it to somebody to wait for
	sum  uint64     // of all that was computed
}

// block blocks for as long as it is meant to, or until the server closes.
func (b *blocker) block() {
	switch b.Kind {
	case BlockSleep:
		_ = sleep(b.over, b.For)
	case BlockMutex:
		b.contend()
	case BlockCPU:
		b.compute()
	case BlockPark:
		_ = b.park(b.over, b.For)
	}
}

// longestSleep is how long a server that closes may have to wait for a sleep.
const longestSleep = 100 * time.Millisecond

// sleep is time.Sleep, and several of them if one would be too long.
func sleep(over context.Context, d time.Duration) error {
	for end := time.Now().Add(d); d > 0 && over.Err() == nil; d = time.Until(end) {
		time.Sleep(min(d, longestSleep))
	}
	return over.Err()
}

// contend waits for a lock that another goroutine holds.
func (b *blocker) contend() {
	go func() {
		_ = sleep(b.over, b.For)
		b.lock.Unlock()
	}()
	b.lock.Lock()
}

// compute does arithmetic. To look at the clock neither blocks nor allocates, and 1,000 steps take about a microsecond.
func (b *blocker) compute() {
	sum := b.sum
	for begun := time.Now(); time.Since(begun) < b.For && b.over.Err() == nil; {
		for range 1000 {
			sum = sum*6364136223846793005 + 1442695040888963407
		}
	}
	b.sum = sum
}
