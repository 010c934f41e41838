package coserver_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

const (
	// shortSoak is how long the soak takes if the flag -soak, which it shares with the simulations, does not say otherwise.
	shortSoak = 2 * time.Second

	// soakClients is how many clients each server has at a time.
	soakClients = 8

	// mostStall is how long a loop may take to come to what is posted to it, beside what the machine and the Go scheduler make the
	// process wait at the same time. A take-over comes after 2 ms, or 3 looks of the monitor.
	mostStall = 50 * time.Millisecond

	// stallProbes is the time between two probes of each loop.
	stallProbes = 3 * time.Millisecond
)

// setFlag returns the value of a flag of the simulations, which are not there on every platform, or otherwise if it is not set.
func setFlag[T comparable](name string, otherwise T) T {
	if f := flag.Lookup(name); f != nil {
		if v, ok := f.Value.(flag.Getter).Get().(T); ok && v != *new(T) {
			return v
		}
	}
	return otherwise
}

// Handlers that do all that they should not, and all that they may, on every carrier at once: every byte arrives, no loop stands
// still, nothing is left. Only what a client does follows from its seed; that is told if something goes wrong.
func TestMixedSoak(t *testing.T) {
	engine := newEngine(t, coserver.EngineConfig{Loops: 2})
	seed := setFlag("seed", rand.Uint64()>>32)
	s := &soak{large: randomBytes(9, 1<<20), hogging: make(chan struct{}, 1)}
	until := time.Now().Add(setFlag("soak", shortSoak))
	stalls := watchStalls(engine, 2)
	var group sync.WaitGroup
	for _, carrier := range []coserver.Carrier{coserver.Auto, coserver.Inline, coserver.Channel} {
		addr := start(t, &coserver.Server{Engine: engine, Carrier: carrier, Handler: s.handle, OnError: s.reported}, "tcp")
		for i := range soakClients {
			group.Go(func() {
				random := rand.New(rand.NewPCG(seed, uint64(carrier)<<32|uint64(i)))
				for n := 0; time.Now().Before(until) && !t.Failed(); n++ {
					client := &soakClient{soak: s, Rand: random}
					if err := client.live(addr); err != nil {
						t.Errorf("seed %d, %v server, client %d, connection %d: %v", seed, carrier, i, n, err)
					}
				}
			})
		}
	}
	group.Wait()
	worst := stalls.end(t)
	stats := engine.Stats()
	t.Logf("%d lines, %d timeouts, %d handlers that fell, %d take-overs; the longest stall was %v", s.lines.Load(), s.timeouts.Load(),
		s.fell.Load(), stats.TakeOvers, worst)
	eventually(t, func() bool { return s.fell.Load() == s.felled.Load() }, "all handlers that fell were reported")
	require.Empty(t, s.others())
	require.NotZero(t, stats.TakeOvers)
	require.NotZero(t, s.lines.Load())
}

// soak is what the handlers and the clients of a soak share.
type soak struct {
	large   []byte        // what large answers are parts of
	lock    sync.Mutex    // what handlers block on
	hogging chan struct{} // holds one entry while a handler computes: more would show the scheduler, and not the engine

	lines, timeouts, fell, felled atomic.Int64

	mu         sync.Mutex
	unexpected []error
}

var errFall = errors.New("the handler was asked to panic")

func (s *soak) reported(_ *coserver.Conn, err error) {
	if errors.Is(err, errFall) || errors.Is(err, coserver.ErrHandlerExited) {
		s.felled.Add(1)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unexpected = append(s.unexpected, err)
}

func (s *soak) others() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unexpected
}

// handle does what each line says, which is a verb, a number and anything, and then sends it back.
func (s *soak) handle(c *coserver.Conn) error {
	for {
		line, err := c.ReadSlice('\n')
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.timeouts.Add(1)
			if err := c.SetReadDeadline(time.Time{}); err != nil {
				return err
			}
			continue // nothing is lost
		}
		if err != nil {
			return err
		}
		s.lines.Add(1)
		verb, rest, _ := strings.Cut(string(line), " ")
		number, _, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(number)
		if err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
		done, err := s.act(c, verb, n)
		if done || err != nil {
			return err
		}
		if err := s.write(c, line); err != nil {
			return err
		}
		if verb == "large" || verb == "hurried" {
			if err := s.write(c, s.large[:n]); err != nil {
				return err
			}
		}
	}
}

// act does what verb says, for n microseconds or bytes, and reports whether the handler is to return.
func (s *soak) act(c *coserver.Conn, verb string, n int) (done bool, err error) {
	d := time.Duration(n) * time.Microsecond
	switch verb {
	case "echo", "large":
	case "hurried":
		return false, c.SetWriteDeadline(time.Now().Add(time.Millisecond))
	case "block":
		time.Sleep(d) // the blocking itself
	case "lock":
		s.lock.Lock()
		time.Sleep(d) // the blocking itself, of others too
		s.lock.Unlock()
	case "hog":
		for begin := time.Now(); time.Since(begin) < d; {
		}
	case "sleep":
		// It ends with the connection, which the next read tells.
		_ = coserver.Sleep(c.Context(), d)
	case "offload":
		return false, coserver.Offload(func() { time.Sleep(d) }) // the blocking itself
	case "deadline":
		return false, c.SetReadDeadline(time.Now().Add(d))
	case "return":
		return true, nil
	case "panic":
		panic(errFall)
	case "exit":
		runtime.Goexit()
	default:
		return false, fmt.Errorf("unknown verb %q", verb)
	}
	return false, nil
}

// write is Write that goes on after a timeout.
func (s *soak) write(c *coserver.Conn, p []byte) error {
	for {
		n, err := c.Write(p)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		p = p[n:]
		s.timeouts.Add(1)
		if err := c.SetWriteDeadline(time.Time{}); err != nil {
			return err
		}
	}
}

// soakClient is one connection, seen from outside.
type soakClient struct {
	*soak
	*rand.Rand
	net.Conn
}

// live is the life of a connection: some batches of lines, and one of several ends.
func (c *soakClient) live(addr net.Addr) error {
	conn, err := net.DialTimeout(addr.Network(), addr.String(), patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	c.Conn = conn
	if c.IntN(4) == 0 {
		if err := conn.(*net.TCPConn).SetReadBuffer(128 << 10); err != nil { // large answers have to wait
			return err
		}
	}
	for range c.IntN(12) {
		if err := c.exchange(c.batch()); err != nil {
			return err
		}
	}
	return c.leave()
}

// batch makes up some lines.
func (c *soakClient) batch() (lines []string) {
	for range 1 + c.IntN(8) {
		verb, n := "echo", c.IntN(100)
		switch c.IntN(24) {
		case 0, 1:
			verb, n = "block", c.IntN(5000)
			if c.IntN(8) == 0 {
				n = 2*int(mostStall.Microseconds()) + c.IntN(50_000)
			}
		case 3:
			verb, n = "lock", c.IntN(2000)
		case 4:
			verb, n = "sleep", c.IntN(3000)
		case 5:
			verb, n = "offload", c.IntN(3000)
		case 6:
			verb, n = "deadline", c.IntN(1000)
		case 7:
			verb, n = "large", c.IntN(len(c.large))
		case 8:
			verb, n = "hurried", c.IntN(len(c.large))
		}
		lines = append(lines, fmt.Sprintf("%s %d %s\n", verb, n, strings.Repeat("x", c.IntN(60))))
	}
	if c.IntN(8) == 0 {
		lines = append(lines, fmt.Sprintf("hog %d \n", 5000+c.IntN(15000)))
	}
	return lines
}

// exchange sends a batch, at once or in pieces, and checks every byte of the answers.
func (c *soakClient) exchange(lines []string) error {
	if last := lines[len(lines)-1]; strings.HasPrefix(last, "hog") {
		c.hogging <- struct{}{}
		defer func() { <-c.hogging }()
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	batch := strings.Join(lines, "")
	for pieces := c.IntN(3); pieces > 0 && len(batch) > 1; pieces-- {
		n := 1 + c.IntN(len(batch)-1)
		if _, err := io.WriteString(c, batch[:n]); err != nil {
			return err
		}
		batch = batch[n:]
		c.pause(2000)
	}
	if _, err := io.WriteString(c, batch); err != nil {
		return err
	}
	for _, line := range lines {
		if err := c.expect([]byte(line), false); err != nil {
			return fmt.Errorf("answer to %q: %w", line, err)
		}
		var n int
		if verb, rest, _ := strings.Cut(line, " "); verb == "large" || verb == "hurried" {
			if _, err := fmt.Sscan(rest, &n); err != nil {
				return err
			}
			if err := c.expect(c.large[:n], c.IntN(3) == 0); err != nil {
				return fmt.Errorf("large answer to %q: %w", line, err)
			}
		}
	}
	return nil
}

// pause lets up to so many microseconds pass.
func (c *soakClient) pause(microseconds int) {
	time.Sleep(time.Duration(c.IntN(microseconds)) * time.Microsecond) // a client that takes its time
}

// expect reads want, slowly if so wished.
func (c *soakClient) expect(want []byte, slowly bool) error {
	got := make([]byte, min(len(want), 32<<10))
	for at := 0; at < len(want); {
		n, err := io.ReadFull(c, got[:min(len(got), len(want)-at)])
		if !bytes.Equal(got[:n], want[at:at+n]) {
			return fmt.Errorf("byte %d or one soon after it is another", at)
		}
		if at += n; err != nil {
			return fmt.Errorf("after %d bytes of %d: %w", at, len(want), err)
		}
		if slowly {
			c.pause(500)
		}
	}
	return nil
}

// leave ends the connection.
func (c *soakClient) leave() error {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	end := []string{"cut", "hang up", "half", "return 0 \n", "panic 0 \n", "exit 0 \n"}[c.IntN(6)]
	switch end {
	case "cut": // in the middle of everything
		if err := c.Conn.(*net.TCPConn).SetLinger(0); err != nil {
			return err
		}
		_, err := io.WriteString(c, strings.Join(c.batchWithoutHog(), ""))
		c.pause(1000)
		return err
	case "hang up":
		return nil
	case "half":
		if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			return err
		}
	default:
		if end[0] != 'r' {
			c.fell.Add(1)
		}
		if _, err := io.WriteString(c, end); err != nil {
			return err
		}
	}
	rest, err := io.ReadAll(c)
	if err != nil || len(rest) > 0 {
		return fmt.Errorf("at the end, by %q: %q, %v", end, rest, err)
	}
	return nil
}

func (c *soakClient) batchWithoutHog() []string {
	lines := c.batch()
	if strings.HasPrefix(lines[len(lines)-1], "hog") {
		return lines[:len(lines)-1]
	}
	return lines
}

// stallWatch measures how long loops take to come to what is posted to them, and beside it how long the process is kept waiting by
// the machine and by Go: bare goroutines for their timers and for what is sent to them, its threads for a processor. A
// watch must not be what a loop waits for; so each list belongs to one goroutine, or to one loop.
type stallWatch struct {
	begin  time.Time
	cancel context.CancelFunc
	group  sync.WaitGroup

	posted, ran atomic.Int64
	stalls      [][]span // by loop
	sender      []span
	receiver    []span
	threads     threadWatch
}

// span is a time of waiting, since the watch began.
type span struct{ from, to time.Duration }

// noticed is the shortest wait of the process that counts.
const noticed = 500 * time.Microsecond

func watchStalls(engine *coserver.Engine, loops int) *stallWatch {
	ctx, cancel := context.WithCancel(context.Background())
	w := &stallWatch{begin: time.Now(), cancel: cancel, stalls: make([][]span, loops)}
	sent := make(chan time.Duration, 1)
	w.group.Go(func() {
		for from := range sent {
			w.waited(&w.receiver, from, noticed)
		}
	})
	w.group.Go(func() {
		defer close(sent)
		defer w.threads.close()
		for ctx.Err() == nil {
			due := w.now() + stallProbes
			time.Sleep(stallProbes) // what is measured
			w.waited(&w.sender, due, noticed)
			begin := w.now()
			for i := range loops {
				w.posted.Add(1)
				coserver.LoopOf(engine, i).Post(&stallProbe{w, i, w.now()})
			}
			sent <- w.now()
			w.waited(&w.sender, begin, noticed) // it has been kept from posting
			w.threads.look(w)
		}
	})
	return w
}

func (w *stallWatch) now() time.Duration { return time.Since(w.begin) }

// waited adds a wait that is over now to spans, if it was long.
func (w *stallWatch) waited(spans *[]span, from, long time.Duration) {
	if now := w.now(); now-from >= long {
		*spans = append(*spans, span{from, now})
	}
}

// stallProbe is one look at a loop.
type stallProbe struct {
	watch *stallWatch
	loop  int
	from  time.Duration
}

func (p *stallProbe) RunOnLoop() {
	p.watch.waited(&p.watch.stalls[p.loop], p.from, mostStall/4)
	p.watch.ran.Add(1)
}

// end ends the watch, fails the test if a loop has stalled, and returns the longest time beyond what the process was kept waiting.
func (w *stallWatch) end(t *testing.T) (worst time.Duration) {
	w.cancel()
	w.group.Wait()
	eventually(t, func() bool { return w.ran.Load() == w.posted.Load() }, "the loops have come to all that was posted")
	machine := union(slices.Concat(w.sender, w.receiver, w.threads.waits))
	for _, stall := range slices.Concat(w.stalls...) {
		own := stall.to - stall.from
		for _, m := range machine {
			own -= max(0, min(stall.to, m.to)-max(stall.from, m.from))
		}
		worst = max(worst, own)
		if own > mostStall {
			t.Errorf("from %v on a loop stalled for %v, of which the process was kept waiting for %v", stall.from, stall.to-stall.from,
				stall.to-stall.from-own)
		}
	}
	return worst
}

// threadWatch sees how long threads of the process that have something to do wait for a processor (the second field of
// /proc/PID/task/TID/schedstat: sched-stats(5) of the kernel's documentation). It sees nothing on other systems.
type threadWatch struct {
	files  map[string]*os.File
	delays map[string]time.Duration
	looks  int
	waits  []span
}

// look adds the waits that have ended since the last look.
func (m *threadWatch) look(w *stallWatch) {
	if m.looks++; m.looks%16 == 1 {
		m.find()
	}
	var text [128]byte
	for name, file := range m.files {
		n, err := file.ReadAt(text[:], 0)
		if err != nil && err != io.EOF {
			file.Close() // the thread has ended
			delete(m.files, name)
			delete(m.delays, name)
			continue
		}
		var running, waiting time.Duration
		if _, err := fmt.Sscan(string(text[:n]), &running, &waiting); err != nil {
			continue
		}
		if before, known := m.delays[name]; known && waiting-before >= noticed {
			now := w.now()
			m.waits = append(m.waits, span{now - (waiting - before) - stallProbes, now}) // it may have ended since the last look
		}
		m.delays[name] = waiting
	}
}

// find makes threads known that have begun.
func (m *threadWatch) find() {
	if m.files == nil {
		m.files, m.delays = make(map[string]*os.File), make(map[string]time.Duration)
	}
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, entry := range entries {
		if m.files[entry.Name()] != nil {
			continue
		}
		if file, err := os.Open("/proc/self/task/" + entry.Name() + "/schedstat"); err == nil {
			m.files[entry.Name()] = file
		}
	}
}

func (m *threadWatch) close() {
	for _, file := range m.files {
		file.Close()
	}
}

// union joins spans that overlap.
func union(spans []span) (joined []span) {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	for _, s := range spans {
		if last := len(joined) - 1; last >= 0 && s.from <= joined[last].to {
			joined[last].to = max(joined[last].to, s.to)
		} else {
			joined = append(joined, s)
		}
	}
	return joined
}
