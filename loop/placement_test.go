package loop_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/loop"
)

// placement is an engine of which a test sees where each connection goes.
type placement struct {
	engine *loop.Engine
	shared bool
	addrs  []net.Addr // of its listeners

	mu      sync.Mutex
	sockets map[ends]*closingOwner
}

// ends are those of a connection: a client may have the same address at two listeners.
type ends struct {
	client   netip.AddrPort
	listener int
}

// newPlacement starts an engine that greets its clients, on so many listeners.
func newPlacement(t *testing.T, loops, listeners int, shared bool) *placement {
	p := &placement{engine: newEngine(t, loop.Config{Loops: loops}), shared: shared, sockets: make(map[ends]*closingOwner)}
	listen := p.engine.Listen
	if shared {
		listen = p.engine.ListenShared
	}
	for i := range listeners {
		ln, err := listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, ln.Serve(func(l *loop.Loop, accepted loop.Accepted) {
			s := new(closingOwner)
			if err := l.Attach(&s.Socket, accepted, s); err != nil {
				t.Error(err)
				return
			}
			p.mu.Lock()
			p.sockets[ends{s.Peer(), i}] = s
			p.mu.Unlock()
			if _, err := s.Send([]byte("x")); err != nil {
				t.Error(err)
			}
		}, nil))
		p.addrs = append(p.addrs, ln.Addr())
	}
	return p
}

// guest is a client, with the socket that it has got.
type guest struct {
	net.Conn
	ends   ends
	socket *closingOwner
}

func (g guest) loop() int { return g.socket.Loop().Index() }

// arrive connects to a listener.
func (p *placement) arrive(listener int) (guest, error) {
	addr := p.addrs[listener]
	c, err := net.DialTimeout(addr.Network(), addr.String(), patience)
	if err != nil {
		return guest{}, err
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return guest{}, err
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		return guest{}, err
	}
	from := c.LocalAddr().(*net.TCPAddr).AddrPort()
	ends := ends{netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), listener}
	p.mu.Lock()
	defer p.mu.Unlock()
	return guest{c, ends, p.sockets[ends]}, nil
}

// leave ends the connection, at the server first.
func (p *placement) leave(g guest) error {
	p.mu.Lock()
	delete(p.sockets, g.ends)
	p.mu.Unlock()
	g.socket.Close()
	if _, err := io.ReadFull(g, make([]byte, 1)); err != io.EOF {
		return fmt.Errorf("no end: %v", err)
	}
	return g.Close()
}

// come lets so many clients come at a time, until count have been there, and returns those that stay.
func (p *placement) come(t *testing.T, count, atATime int, stay bool) (staying []guest, counts []int) {
	t.Helper()
	counts = make([]int, p.engine.Loops())
	var mu sync.Mutex
	var all sync.WaitGroup
	for worker := range atATime {
		all.Go(func() {
			for i := worker; i < count; i += atATime {
				g, err := p.arrive(i % len(p.addrs))
				if err == nil && !stay {
					err = p.leave(g)
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				counts[g.loop()]++
				if stay {
					staying = append(staying, g)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	require.False(t, t.Failed())
	t.Cleanup(func() {
		for _, g := range staying {
			g.Close()
		}
	})
	return staying, counts
}

// spread is by how many connections loops differ.
func spread(counts []int) int { return slices.Max(counts) - slices.Min(counts) }

func byLoop(loops int, guests []guest) []int {
	counts := make([]int, loops)
	for _, g := range guests {
		counts[g.loop()]++
	}
	return counts
}

func (p *placement) report(t *testing.T, what string, counts []int) {
	t.Helper()
	total := 0
	for _, n := range counts {
		total += n
	}
	how := "least loaded"
	if p.shared {
		how = "ReusePort"
	}
	t.Logf("%d loops, %s, %s: %v, max/mean %.2f", len(counts), how, what, counts, float64(slices.Max(counts)*len(counts))/float64(total))
}

// rests waits until the loops have given up all sockets but those.
func (p *placement) rests(t *testing.T, guests []guest) {
	t.Helper()
	want := byLoop(p.engine.Loops(), guests)
	require.Eventually(t, func() bool {
		for i, n := range want {
			if loop.Sockets(p.engine.Loop(i)) != int64(n) {
				return false
			}
		}
		return true
	}, patience, time.Millisecond, "the loops know of no sockets but those that are open")
}

// faults.md N4: connections are spread evenly, and stay so whoever comes and goes. What this reports (-v) stands in docs/adr/0009-placement.md.
func TestPlacement(t *testing.T) {
	for _, loops := range []int{2, 4, 8} {
		t.Run(fmt.Sprintf("%d loops", loops), func(t *testing.T) { testPlacement(t, loops, false) })
	}
	t.Run("ReusePort", func(t *testing.T) { testPlacement(t, 8, true) })
}

func testPlacement(t *testing.T, loops int, shared bool) {
	for _, c := range []struct {
		what           string
		count, atATime int
		stay           bool
	}{
		{"200 that stay, one after the other", 200, 1, true},
		{"1,000 that stay, all at once", 1000, 1000, true},
		{"200 that leave, one after the other", 200, 1, false},
		{"500 that leave, 50 at a time", 500, 50, false},
	} {
		p := newPlacement(t, loops, 1, shared)
		staying, counts := p.come(t, c.count, c.atATime, c.stay)
		p.report(t, c.what, counts)
		if c.stay && !shared {
			require.LessOrEqual(t, spread(counts), 1)
		}
		p.rests(t, staying)
	}

	const stay, workers = 100, 8
	p := newPlacement(t, loops, 1, shared)
	staying, _ := p.come(t, stay, 1, true)
	churn := make(chan []int, 1)
	go func() {
		_, counts := p.come(t, 500, workers, false)
		churn <- counts
	}()
	more, _ := p.come(t, stay, 1, true)
	p.report(t, "500 that leave, 8 at a time, beside those that stay", receive(t, churn))
	staying = append(staying, more...)
	counts := byLoop(loops, staying)
	p.report(t, "100 that stay, and 100 more while others come and go", counts)
	p.rests(t, staying)
	if !shared {
		// Of those that come and go each counts once while it is open, and perhaps once more while its loop gives it up.
		const most = 2*workers + 1
		require.LessOrEqual(t, spread(counts), most)
		more, _ = p.come(t, most*loops, 1, true)
		staying = append(staying, more...)
		require.LessOrEqual(t, spread(byLoop(loops, staying)), 1, "what is uneven is made up for")
	}

	// All of one loop leave.
	var left []guest
	for _, g := range staying {
		if g.loop() != 0 {
			left = append(left, g)
			continue
		}
		require.NoError(t, p.leave(g))
	}
	p.rests(t, left)
	more, _ = p.come(t, len(staying)-len(left), 1, true)
	counts = byLoop(loops, append(left, more...))
	p.report(t, "all of one loop have left, and as many come", counts)
	if !shared {
		require.LessOrEqual(t, spread(counts), 1)
	}
}

// Several listeners on one engine place their connections each for itself, but by the same counts.
func TestPlacementOfSeveralListeners(t *testing.T) {
	const listeners = 4
	p := newPlacement(t, 4, listeners, false)
	_, counts := p.come(t, 1000, 100, true)
	p.report(t, "1,000 that stay, 100 at a time, of four listeners", counts)
	require.LessOrEqual(t, spread(counts), listeners+1)
}
