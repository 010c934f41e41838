//go:build unix

package upgrade_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver/upgrade"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

// manager is what a service manager listens on for sd_notify(3).
type manager struct{ *net.UnixConn }

func newManager(t *testing.T) manager {
	t.Helper()
	path := unixPath(t)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return manager{conn}
}

func (m manager) next(t *testing.T) string {
	t.Helper()
	require.NoError(t, m.SetReadDeadline(time.Now().Add(patience)))
	message := make([]byte, 1000)
	n, err := m.Read(message)
	require.NoError(t, err)
	return string(message[:n])
}

// requireReloading wants the message that a reload begins, with the time that systemd compares with its own.
func (m manager) requireReloading(t *testing.T) {
	t.Helper()
	message := m.next(t)
	if runtime.GOOS != "linux" {
		require.Equal(t, "RELOADING=1", message)
		return
	}
	digits, found := strings.CutPrefix(message, "RELOADING=1\nMONOTONIC_USEC=")
	require.True(t, found, message)
	now, err := strconv.ParseInt(digits, 10, 64)
	require.NoError(t, err)
	require.Positive(t, now)
}

func TestServiceManagerIsTold(t *testing.T) {
	leak.Check(t)
	m := newManager(t)
	u, ln := begin(t, "serves", "tcp", "127.0.0.1:0")
	require.NoError(t, u.Ready())
	require.Equal(t, "READY=1", m.next(t))
	require.NoError(t, u.Upgrade(t.Context()))
	m.requireReloading(t)
	next := pid(t, ln.Addr())
	if next == os.Getpid() { // both serve
		require.NoError(t, ln.Close())
		next = pid(t, ln.Addr())
	}
	first := m.next(t)
	require.ElementsMatch(t, []string{
		fmt.Sprintf("MAINPID=%d\nREADY=1", next), // of this process
		fmt.Sprintf("READY=1\nMAINPID=%d", next), // of the next
	}, []string{first, m.next(t)})
	u.Stop() // says nothing any more
	ln.Close()
	end(t, ln.Addr())
	require.Equal(t, "STOPPING=1", m.next(t), "of the next process")
}

func TestServiceManagerIsToldOfFailures(t *testing.T) {
	leak.Check(t)
	m := newManager(t)
	u, _ := begin(t, "exits", "tcp", "127.0.0.1:0")
	require.NoError(t, u.Ready())
	require.Equal(t, "READY=1", m.next(t))
	require.Error(t, u.Upgrade(t.Context()))
	m.requireReloading(t)
	require.Equal(t, "READY=1", m.next(t), "it goes on")
	u.Stop()
	require.Equal(t, "STOPPING=1", m.next(t))
}

// Only the supervisor is the service.
func TestServiceManagerHearsNoWorkers(t *testing.T) {
	leak.Check(t)
	m := newManager(t)
	s := startSupervisor(t, &upgrade.Supervisor{Workers: 2}, "serves", "tcp", "127.0.0.1:0")
	require.Equal(t, "READY=1", m.next(t))
	require.NoError(t, s.Reload(t.Context()))
	m.requireReloading(t)
	require.Equal(t, "READY=1", m.next(t))
	s.Upgrader.Stop()
	require.NoError(t, s.Stop(context.Background()))
	require.Equal(t, "STOPPING=1", m.next(t))
	require.NoError(t, m.SetReadDeadline(time.Now()))
	_, err := m.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

// A service manager that is not there, or does not listen, holds up nobody.
func TestNoServiceManager(t *testing.T) {
	for name, address := range map[string]string{"gone": "/nonexistent/notify", "abstract": "@strand-nobody", "nonsense": strings.Repeat("x", 1000)} {
		t.Run(name, func(t *testing.T) {
			leak.Check(t)
			t.Setenv("NOTIFY_SOCKET", address)
			u, err := upgrade.New(upgrade.Options{})
			require.NoError(t, err)
			require.NoError(t, u.Ready())
			u.Stop()
		})
	}
}
