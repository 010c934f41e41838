//go:build unix

package pollertest

import (
	"math/rand/v2"
	"syscall"

	"github.com/strand-net/strand/poller"
	"github.com/stretchr/testify/require"
)

var registrationTests = []test{
	{"AddReportsWhatHolds", testAddReportsWhatHolds},
	{"AddTwice", testAddTwice},
	{"NotRegistered", testNotRegistered},
	{"BadDescriptor", testBadDescriptor},
	{"AddAfterRemove", testAddAfterRemove},
	{"RemoveSilences", testRemoveSilences},
	{"RandomOrder", testRandomOrder},
}

func testAddReportsWhatHolds(f *fixture) {
	a, b := socketPair(f)
	b.write("x")
	f.add(a, 1, poller.Readable|poller.Writable)
	f.await(1, poller.Readable|poller.Writable)
}

func testAddTwice(f *fixture) {
	a, b := socketPair(f)
	f.add(a, 1, poller.Readable)
	isSystemError(f, f.poller.Add(a.fd, 2, poller.Readable), syscall.EEXIST)
	// The registration is as it was.
	b.write("x")
	f.await(1, poller.Readable)
}

func testNotRegistered(f *fixture) {
	a, _ := socketPair(f)
	isSystemError(f, f.poller.Modify(a.fd, 1, poller.Readable), syscall.ENOENT)
	isSystemError(f, f.poller.Remove(a.fd), syscall.ENOENT)
	f.add(a, 1, poller.Readable)
	f.remove(a)
	isSystemError(f, f.poller.Modify(a.fd, 1, poller.Readable), syscall.ENOENT)
	isSystemError(f, f.poller.Remove(a.fd), syscall.ENOENT)
}

func testBadDescriptor(f *fixture) {
	for _, fd := range []int{-1, 1 << 30} {
		isSystemError(f, f.poller.Add(fd, 1, poller.Readable), syscall.EBADF)
		isSystemError(f, f.poller.Modify(fd, 1, poller.Readable), syscall.EBADF)
		isSystemError(f, f.poller.Remove(fd), syscall.EBADF)
	}
	require.Empty(f, f.wait(0))
}

func testAddAfterRemove(f *fixture) {
	a, b := socketPair(f)
	b.write("x")
	for token := range poller.Token(5) {
		f.add(a, token, poller.Readable)
		f.await(token, poller.Readable) // nothing has been read: each registration reports it anew
		f.remove(a)
	}
}

func testRemoveSilences(f *fixture) {
	a, b := socketPair(f)
	f.add(a, 1, poller.Readable|poller.Writable)
	f.await(1, poller.Writable)
	b.write("x") // an event that no Wait has seen yet
	f.remove(a)
	b.write("y")
	b.close()
	require.Zero(f, f.listen(1))
}

// testRandomOrder compares the answers of a random sequence of calls with those of a map.
func testRandomOrder(f *fixture) {
	var sockets []*descriptor
	for range 6 {
		a, b := socketPair(f)
		sockets = append(sockets, a, b)
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for step := range 2000 {
		d := sockets[random.IntN(len(sockets))]
		token, interest := poller.Token(random.Uint64()>>1), poller.Interest(random.IntN(4))
		_, registered := f.live[d.fd]
		var err, want error
		switch op := random.IntN(4); op {
		case 0:
			if err = f.poller.Add(d.fd, token, interest); registered {
				want = syscall.EEXIST
			} else {
				f.live[d.fd] = token
			}
		case 1:
			if err = f.poller.Modify(d.fd, token, interest); registered {
				f.live[d.fd] = token
			} else {
				want = syscall.ENOENT
			}
		case 2:
			if err = f.poller.Remove(d.fd); registered {
				delete(f.live, d.fd)
			} else {
				want = syscall.ENOENT
			}
		case 3:
			f.wait(0)
		}
		require.ErrorIs(f, err, want, "seed %d, step %d", seed, step)
	}
}
