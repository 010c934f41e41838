package compat_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

func TestMain(m *testing.M) {
	startFasthttpClock()
	leak.Main(m)
}

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// subject is what a library runs on.
type subject struct {
	name   string
	listen func(network, address string) (net.Listener, error)
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
}

var subjects = []subject{
	{"net", net.Listen, new(net.Dialer).DialContext},
	{"strand", func(network, address string) (net.Listener, error) { return coserver.Listen(network, address) }, new(coserver.Dialer).DialContext},
}

// side is a listener of a subject, and how its clients come.
type side struct {
	ln   net.Listener
	dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// onEachSubject runs test with a listener of each subject, and fails it if anything is left afterwards.
func onEachSubject(t *testing.T, test func(t *testing.T, s side)) {
	for _, subject := range subjects {
		t.Run(subject.name, func(t *testing.T) {
			leak.Check(t)
			test(t, subject.side(t))
		})
	}
}

func (s subject) side(t *testing.T) side {
	ln, err := s.listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() }) // most servers have done so
	return side{ln, s.dial}
}

func (s side) addr() string { return s.ln.Addr().String() }

// connect opens a plain client connection, which does not outlast the test.
func (s side) connect(t *testing.T) net.Conn {
	t.Helper()
	c, err := s.dial(t.Context(), "tcp", s.addr())
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	return c
}

func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		require.Fail(t, "nothing came")
		panic("unreachable")
	}
}

// eventually waits until condition holds.
func eventually(t *testing.T, condition func() bool, what string) {
	t.Helper()
	require.Eventually(t, condition, patience, time.Millisecond, what)
}

// refused waits until new clients are.
func (s side) refused(t *testing.T) {
	t.Helper()
	eventually(t, func() bool {
		c, err := s.dial(t.Context(), "tcp", s.addr())
		if err == nil {
			c.Close()
		}
		return err != nil
	}, "new clients are refused")
}

// together runs work count times at once and wants no error of any.
func together(t *testing.T, count int, work func(i int) error) {
	t.Helper()
	errs := make(chan error, count)
	var all sync.WaitGroup
	for i := range count {
		all.Go(func() {
			if err := work(i); err != nil {
				errs <- fmt.Errorf("%d: %w", i, err)
			}
		})
	}
	all.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
}

// generated is size bytes that look random and are always the same.
func generated(size int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{}), size)
}

// digest takes all of r, and tells what there was.
func digest(r io.Reader) (string, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	return sum(n, h), err
}

// sum is what digest returns for n bytes that h has seen.
func sum(n int64, h hash.Hash) string { return fmt.Sprintf("%d bytes, %x", n, h.Sum(nil)) }

// digestOf is the digest of generated(size).
func digestOf(t *testing.T, size int64) string {
	t.Helper()
	d, err := digest(generated(size))
	require.NoError(t, err)
	return d
}
