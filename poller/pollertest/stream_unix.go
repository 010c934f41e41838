//go:build unix

package pollertest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/strand-net/strand/poller"
	"github.com/stretchr/testify/require"
)

var streamTests = []test{
	{"SocketPair", func(f *fixture) { testStream(f, socketPair, false) }},
	{"Pipe", func(f *fixture) { testStream(f, reversePipe, false) }},
	{"TCP", func(f *fixture) { testStream(f, tcpPair, false) }},
	{"ShortReadMeansDrained", func(f *fixture) { testStream(f, socketPair, true) }},
	{"ShortReadMeansDrainedTCP", func(f *fixture) { testStream(f, tcpPair, true) }},
}

// streamSize is many times what fits in a connection's buffers, so that both ends have to wait, again and again.
const streamSize = 1 << 20

func reversePipe(t testing.TB) (writer, reader *descriptor) {
	reader, writer = pipe(t)
	return writer, reader
}

// testStream sends a stream between two goroutines that remember readiness as the owner of a descriptor should: an
// event sets it, EAGAIN or (with shortRead) a read that fills less than asked clears it. Each has a Poller of its own.
// An edge lost by one of the two makes the stream stand still.
func testStream(f *fixture, connect func(testing.TB) (a, b *descriptor), shortRead bool) {
	writer, reader := connect(f)
	other := open(f.T, f.backend)
	sending, receiving := make(chan error, 1), make(chan error, 1)
	go func() { sending <- send(f.poller, writer) }()
	go func() { receiving <- receive(other.poller, reader, shortRead) }()
	require.NoError(f, finish(f, sending, "sender"))
	require.NoError(f, finish(f, receiving, "receiver"))
}

func send(p poller.Poller, d *descriptor) error {
	left := streamSize
	return drive(p, d.fd, poller.Writable, func() (drained, done bool, err error) {
		n, err := d.send(make([]byte, min(left, 1+rand.IntN(8192))))
		left -= max(n, 0)
		return err == syscall.EAGAIN, left == 0, err
	})
}

func receive(p poller.Poller, d *descriptor, shortRead bool) error {
	left := streamSize
	buf := make([]byte, 8192)
	return drive(p, d.fd, poller.Readable, func() (drained, done bool, err error) {
		size := 1 + rand.IntN(len(buf))
		n, err := d.receive(buf[:size])
		if n == 0 && err == nil {
			err = errors.New("end of file")
		}
		left -= max(n, 0)
		return err == syscall.EAGAIN || shortRead && n < size, left == 0, err
	})
}

// drive calls transfer while it believes fd to be ready.
func drive(p poller.Poller, fd int, direction poller.Readiness, transfer func() (drained, done bool, err error)) error {
	if err := p.Add(fd, 1, poller.Readable|poller.Writable); err != nil {
		return err
	}
	events := make([]poller.Event, 4)
	var ready poller.Readiness
	for {
		for ready&direction != 0 {
			drained, done, err := transfer()
			if err != nil && err != syscall.EAGAIN {
				return err
			}
			if done {
				return p.Remove(fd)
			}
			if drained {
				ready &^= direction
			}
		}
		n, err := p.Wait(events, patience/2)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("an edge has been lost (%05b)", direction)
		}
		for _, event := range events[:n] {
			ready |= event.Readiness
		}
	}
}
