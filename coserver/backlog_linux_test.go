package coserver_test

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/strand-net/strand/coserver"
)

// faults.md N6: the backlog is as long as the system lets it be, so a burst that comes while nobody accepts is refused to nobody.
func TestBacklogTakesABurst(t *testing.T) {
	data, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	require.NoError(t, err)
	somaxconn, err := strconv.Atoi(strings.TrimSpace(string(data)))
	require.NoError(t, err)
	for _, shared := range []bool{false, true} {
		s := &coserver.Server{Engine: newEngine(t, coserver.EngineConfig{Loops: 1}), Handler: echoNext, ReusePort: shared}
		ln, err := s.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		raw, err := ln.SyscallConn()
		require.NoError(t, err)
		listening := func() (info *unix.TCPInfo) {
			require.NoError(t, raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }))
			require.NoError(t, err)
			return info
		}
		require.EqualValues(t, somaxconn, listening().Sacked) // of a listener that is its backlog, and Unacked how many are in it
		clients := make([]net.Conn, min(somaxconn, 500))
		for i := range clients {
			clients[i] = dial(t, ln.Addr())
		}
		require.EqualValues(t, len(clients), listening().Unacked)
		served := make(chan error, 1)
		go func() { served <- s.Serve(ln) }()
		for _, c := range clients {
			exchange(t, c, "served")
		}
		require.EqualValues(t, len(clients), s.Stats().Accepted)
		require.NoError(t, s.Close())
		require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
	}
}

// faults.md N10: clients that are gone when they are accepted are served and forgotten like others, and have an address.
func TestResetBeforeAccept(t *testing.T) {
	const count = 100
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		type sight struct {
			remote, local string
			err           error
		}
		seen := make(chan sight, count)
		s := &coserver.Server{Carrier: carrier, Engine: newEngine(t, coserver.EngineConfig{}), MaxConns: count, MaxConnsPerIP: count}
		s.Handler = func(c *coserver.Conn) error {
			_, err := io.Copy(io.Discard, c)
			seen <- sight{c.RemoteAddr().String(), c.LocalAddr().String(), err}
			return err
		}
		ln, err := s.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		gone := make(map[string]net.Conn)
		for i := range count {
			c := dial(t, ln.Addr())
			if i%2 == 0 {
				_, err := io.WriteString(c, "last words")
				require.NoError(t, err)
			}
			gone[c.LocalAddr().String()] = c
		}
		for _, c := range gone {
			require.NoError(t, c.(*net.TCPConn).SetLinger(0))
			require.NoError(t, c.Close())
		}
		served := make(chan error, 1)
		go func() { served <- s.Serve(ln) }()
		for range count {
			got := receive(t, seen)
			require.ErrorIs(t, got.err, unix.ECONNRESET)
			require.Equal(t, ln.Addr().String(), got.local)
			require.Contains(t, gone, got.remote)
			delete(gone, got.remote)
		}
		eventually(t, func() bool { conns, addresses := coserver.Admitted(s); return conns == 0 && addresses == 0 }, "a place is lost")
		require.EqualValues(t, count, s.Stats().Accepted)
		require.Zero(t, s.Stats().HandlerErrors)
		require.NoError(t, s.Close())
		require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
	})
}

// openDescriptors returns what each descriptor of this process is.
func openDescriptors(t *testing.T) map[string]string {
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	all := make(map[string]string)
	for _, entry := range entries {
		if target, err := os.Readlink(filepath.Join("/proc/self/fd", entry.Name())); err == nil { // that of ReadDir is closed
			all[entry.Name()] = target
		}
	}
	return all
}

// faults.md N7: no descriptor of the engine's, of whatever kind, would be a child's.
func TestNoDescriptorIsInherited(t *testing.T) {
	before := openDescriptors(t)
	engine := newEngine(t, coserver.EngineConfig{Loops: 2})
	backend := start(t, &coserver.Server{Engine: engine, Handler: echoNext}, "unix")
	s := &coserver.Server{Engine: engine, ReusePort: true, Handler: func(c *coserver.Conn) error {
		to, err := coserver.Dial("unix", backend.String())
		if err != nil {
			return err
		}
		defer to.Close()
		return coserver.Relay(c, to.(*coserver.Conn)) // through a pipe
	}}
	addr := start(t, s, "tcp")
	for range 10 {
		exchange(t, dial(t, addr), "through all of it")
	}
	kinds := make(map[string]int)
	for name, target := range openDescriptors(t) {
		if before[name] == target {
			continue
		}
		fd, err := strconv.Atoi(name)
		require.NoError(t, err)
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == unix.EBADF {
			continue // closed meanwhile
		}
		require.NoError(t, err)
		require.NotZero(t, flags&unix.FD_CLOEXEC, target)
		kind, _, _ := strings.Cut(target, ":[")
		kinds[kind]++
	}
	for _, kind := range []string{"socket", "pipe", "anon_inode"} { // the last are epoll instances and event counters
		require.NotZero(t, kinds[kind], kind)
	}
}
