package load

import (
	"slices"
	"sort"
)

// deadlines are those of connections, the earliest first: a heap, in which each connection is once at most.
type deadlines []deadlineOf

type deadlineOf struct {
	at   int64  // kernel time, ns
	conn uint32 // of the worker's
}

func (d *deadlines) push(at int64, conn uint32) {
	*d = append(*d, deadlineOf{at, conn})
	all := *d
	for i := len(all) - 1; i > 0; {
		up := (i - 1) / 2
		if all[up].at <= all[i].at {
			return
		}
		all[up], all[i] = all[i], all[up]
		i = up
	}
}

// pop takes the earliest out.
func (d *deadlines) pop() (conn uint32) {
	all := *d
	conn = all[0].conn
	last := len(all) - 1
	all[0] = all[last]
	all = all[:last]
	*d = all
	for i := 0; ; {
		down := 2*i + 1
		if down+1 < last && all[down+1].at < all[down].at {
			down++
		}
		if down >= last || all[i].at <= all[down].at {
			return conn
		}
		all[i], all[down] = all[down], all[i]
		i = down
	}
}

// missing are the numbers of datagrams that were given up, in their order, so that an answer which comes later is not taken for a second one.
type missing struct {
	numbers   []uint32
	forgets   bool
	forgotten uint32 // up to here nobody knows: answers are taken for late ones
}

// maxMissing is how many a connection remembers. A server does not have more that wait.
const maxMissing = 4096

func (m *missing) add(number uint32) {
	if len(m.numbers) == maxMissing {
		half := maxMissing / 2
		m.forgets, m.forgotten = true, m.numbers[half-1]
		m.numbers = m.numbers[:copy(m.numbers, m.numbers[half:])]
	}
	m.numbers = append(m.numbers, number)
}

// take reports whether the answer to that number is a late one. The next to it is none.
func (m *missing) take(number uint32) bool {
	i := sort.Search(len(m.numbers), func(i int) bool { return !after(number, m.numbers[i]) })
	if i < len(m.numbers) && m.numbers[i] == number {
		m.numbers = slices.Delete(m.numbers, i, i+1)
		return true
	}
	return m.forgets && !after(number, m.forgotten)
}
