package coserver_test

import (
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// seed is the number of the only script to run, or 0. The flag may be there already, for other things that are random.
var seed = func() func() uint64 {
	if flag.Lookup("seed") == nil {
		flag.Uint64("seed", 0, "what is random runs with this seed only")
	}
	return func() uint64 { return flag.Lookup("seed").Value.(flag.Getter).Get().(uint64) }
}()

// Random scripts, new ones each time: what nobody has thought of.
func TestSameAsNetAtRandom(t *testing.T) {
	const count = 40 // on each network and subject
	onEachSubject(t, func(t *testing.T, network string, base, open func() *connection) {
		for range count {
			number := rand.Uint64()
			if seed() != 0 {
				number = seed()
			}
			want, got := randomScript(number).compare(t, "", network, base, open)
			require.Equal(t, want, got, "-run '%s' -seed %d", t.Name(), number)
			if seed() != 0 {
				return
			}
		}
	})
}

// scenario is a script in the making, and what is known of the two ends: enough to write no call that waits for ever,
// none whose result is a race within the kernel, and none of the known differences.
type scenario struct {
	random *rand.Rand
	ends   [2]sketch
	script script
}

type sketch struct {
	unread         int  // bytes that have come
	ended          bool // CloseWrite
	deaf           bool // CloseRead
	closed         bool
	readLate, late bool // the deadline of reading, of writing, is in the past
}

func randomScript(seed uint64) script {
	s := &scenario{random: rand.New(rand.NewPCG(seed, 0))}
	for len(s.script) < 20 {
		s.add(who(s.random.IntN(2)))
	}
	return s.script
}

func (s *scenario) size() int {
	sizes := []int{0, 1, 10, 500, 3000}
	return sizes[s.random.IntN(len(sizes))]
}

func (s *scenario) append(steps ...step) { s.script = append(s.script, steps...) }

// add writes one step of w, or none if the one that comes to mind will not do.
func (s *scenario) add(w who) {
	end, other := &s.ends[w], &s.ends[1-w]
	size := s.size()
	over := other.ended || other.closed
	half := !(end.ended && over) // or shutdown races with the end of the handshake of FINs
	switch s.random.IntN(12) {
	case 0, 1:
		s.read(w, w.read(size), size, 1)
	case 2:
		s.read(w, w.readFull(size), size, size)
	case 3, 4, 5:
		s.write(w, size)
	case 6:
		if half && s.random.IntN(2) == 0 {
			s.append(w.closeWrite())
			end.ended = true
		}
	case 7:
		if half && s.random.IntN(3) == 0 {
			s.append(w.closeRead())
			end.deaf = true
		}
	case 8:
		s.close(w)
	case 9, 10:
		s.deadline(w)
	case 11:
		s.readThatWaits()
	}
}

// returns reports whether a read of w that wants that many bytes does so.
func (s *scenario) returns(w who, want int) bool {
	end, other := &s.ends[w], &s.ends[1-w]
	return end.closed || end.readLate || end.unread >= want || end.deaf || other.ended || other.closed
}

func (s *scenario) read(w who, read step, size, want int) {
	end := &s.ends[w]
	if !s.returns(w, min(want, size)) {
		return
	}
	s.append(read)
	if !end.closed && !end.readLate {
		end.unread -= min(size, end.unread)
	}
}

func (s *scenario) write(w who, size int) {
	end, other := &s.ends[w], &s.ends[1-w]
	fails := end.closed || end.late || end.ended
	switch {
	case fails:
	case other.deaf, other.unread > 20_000:
		return
	case other.closed && w == peer: // the engine may still listen, so that its last output arrives
		return
	default:
		other.unread += size
	}
	if w == us && size > 1 && s.random.IntN(4) == 0 {
		s.append(us.writev(1, size-1))
	} else {
		s.append(w.write(size))
	}
}

func (s *scenario) close(w who) {
	end := &s.ends[w]
	if s.random.IntN(3) != 0 || w == us && end.unread > 0 && !end.closed {
		return
	}
	if w == peer && !end.closed && s.random.IntN(3) == 0 {
		s.append(w.reset())
	} else {
		s.append(w.close())
	}
	end.closed = true
}

func (s *scenario) deadline(w who) {
	end := &s.ends[w]
	side := []string{"", "Read", "Write"}[s.random.IntN(3)]
	from := []time.Duration{past, none, far}[s.random.IntN(3)]
	s.append(w.deadline(side, from))
	if end.closed {
		return
	}
	if side != "Write" {
		end.readLate = from == past
	}
	if side != "Read" {
		end.late = from == past
	}
}

// readThatWaits is a read of ours, and what it waits for.
func (s *scenario) readThatWaits() {
	end, other := &s.ends[us], &s.ends[peer]
	if s.returns(us, 1) {
		return
	}
	size := 1 + s.size()
	s.append(begin(us.read(size)))
	switch s.random.IntN(6) {
	case 0:
		if other.late {
			s.append(peer.deadline("Write", none))
			other.late = false
		}
		sent := 1 + s.size()
		s.append(peer.write(sent))
		end.unread = sent - min(sent, size)
	case 1:
		s.append(peer.closeWrite())
		other.ended = true
	case 2:
		s.append(us.deadline("Read", past))
		end.readLate = true
	case 3:
		s.append(us.close())
		end.closed = true
	case 4:
		s.append(us.closeRead())
		end.deaf = true
	case 5:
		s.append(peer.close())
		other.closed = true
	}
	s.append(us.join())
}
