//go:build unix

package upgrade_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver/upgrade"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

func TestOptionsAreValidated(t *testing.T) {
	_, err := upgrade.New(upgrade.Options{ReadyLimit: -1})
	require.ErrorContains(t, err, "Options.ReadyLimit")
	_, err = upgrade.New(upgrade.Options{Args: []string{}})
	require.ErrorContains(t, err, "Options.Args")
}

// The new process serves the same sockets, and the old one is told.
func TestUpgrade(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			address := "127.0.0.1:0" // which the new one finds again, too
			if network == "unix" {
				address = unixPath(t)
			}
			u, ln := begin(t, "serves", network, address)
			require.ErrorIs(t, u.Upgrade(t.Context()), upgrade.ErrNotReady)
			require.NoError(t, u.Ready())
			require.NoError(t, u.Ready())
			require.Equal(t, os.Getpid(), pid(t, ln.Addr()))
			stays := dial(t, ln.Addr())
			require.Equal(t, "hello", stays.ask(t, "hello"))
			require.NoError(t, u.Err())
			require.Zero(t, u.Successor())

			require.NoError(t, u.Upgrade(t.Context()))
			receive(t, u.Exit())
			require.ErrorIs(t, u.Err(), upgrade.ErrReplaced)
			require.ErrorIs(t, u.Upgrade(t.Context()), upgrade.ErrReplaced)
			_, err := u.Listen(network, address)
			require.ErrorIs(t, err, upgrade.ErrReplaced)
			require.NoError(t, ln.Close())
			require.ErrorIs(t, ln.Close(), net.ErrClosed)
			require.Equal(t, "still here", stays.ask(t, "still here"))
			require.NoError(t, stays.Close())

			c := dial(t, ln.Addr())
			require.NotEqual(t, os.Getpid(), u.Successor())
			require.Equal(t, strconv.Itoa(u.Successor()), c.ask(t, "pid"))
			require.Equal(t, strconv.Itoa(os.Getpid()), c.ask(t, "ppid"))
			require.Equal(t, "found:", c.ask(t, "list"))
			require.NoError(t, c.Close())
			end(t, ln.Addr())
			if network == "unix" {
				_, err := os.Stat(address)
				require.ErrorIs(t, err, os.ErrNotExist)
			}
		})
	}
}

// A new process that fails leaves everything as it was, and the error says how it has failed.
func TestFailedUpgrade(t *testing.T) {
	nowhere := program("", "", "")
	nowhere.Path = "/nonexistent/server"
	slow := program("hangs", "", "")
	slow.ReadyLimit = 30 * time.Millisecond
	for name, c := range map[string]struct {
		options upgrade.Options
		want    string
	}{
		"cannot be executed": {nowhere, "upgrade: cannot start the new process: fork/exec /nonexistent/server: no such file or directory"},
		"exits":              {program("exits", "", ""), "upgrade: the new process has ended before it was ready: exit status 3"},
		"gives up":           {program("gives up", "", ""), "upgrade: the new process has ended before it was ready: exit status 4"},
		"cannot listen":      {program("serves", "tcp", "nonsense"), "upgrade: the new process has ended before it was ready: exit status 1"},
		"babbles":            {program("babbles", "", ""), `upgrade: the new process is given up: it said "hello\n"`},
		"hangs":              {slow, "upgrade: the new process is given up: it was not ready after 30ms"},
	} {
		t.Run(name, func(t *testing.T) {
			stderr := os.Stderr
			if name == "cannot listen" { // its complaint goes where ours go, and nobody wants to see it here
				null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
				require.NoError(t, err)
				defer null.Close()
				os.Stderr = null
				defer func() { os.Stderr = stderr }()
			}
			u, ln := beginWith(t, c.options, "tcp", "127.0.0.1:0")
			require.NoError(t, u.Ready())
			stays := dial(t, ln.Addr())
			for range 2 {
				require.EqualError(t, u.Upgrade(t.Context()), c.want)
				requireNoChild(t)
				require.NoError(t, u.Err())
				require.Equal(t, "hello", stays.ask(t, "hello"))
				require.Equal(t, os.Getpid(), pid(t, ln.Addr()))
			}
			require.NoError(t, stays.Close())
			require.NoError(t, ln.Close())
			require.True(t, isRefused(ln.Addr()))
		})
	}
}

func TestUpgradeSaysTheExitCode(t *testing.T) {
	u, _ := begin(t, "exits", "tcp", "127.0.0.1:0")
	require.NoError(t, u.Ready())
	var exit *exec.ExitError
	require.ErrorAs(t, u.Upgrade(t.Context()), &exit)
	require.Equal(t, 3, exit.ExitCode())
}

// A process that is ready and then dies at once is one that is not ready, or has been; nothing hangs.
func TestUpgradeToWhatDies(t *testing.T) {
	for range 5 {
		u, _ := begin(t, "dies when ready", "tcp", "127.0.0.1:0")
		require.NoError(t, u.Ready())
		if err := u.Upgrade(t.Context()); err != nil {
			require.ErrorContains(t, err, "has ended before it was ready: exit status 5")
		} else {
			receive(t, u.Exit())
		}
		eventually(t, func() bool { return !hasChild() }, "it is awaited")
	}
}

// An upgrade ends with its context, and with Stop.
func TestUpgradeIsGivenUp(t *testing.T) {
	for name, c := range map[string]struct {
		giveUp func(*upgrade.Upgrader, context.CancelFunc)
		want   error
	}{
		"context": {func(_ *upgrade.Upgrader, cancel context.CancelFunc) { cancel() }, context.Canceled},
		"Stop":    {func(u *upgrade.Upgrader, _ context.CancelFunc) { u.Stop() }, upgrade.ErrStopped},
	} {
		t.Run(name, func(t *testing.T) {
			u, ln := begin(t, "hangs", "tcp", "127.0.0.1:0")
			require.NoError(t, u.Ready())
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			result := make(chan error, 1)
			go func() { result <- u.Upgrade(ctx) }()
			eventually(t, hasChild, "a process is started")
			require.ErrorIs(t, u.Upgrade(t.Context()), upgrade.ErrInProgress)
			_, err := u.Listen("tcp", "127.0.0.1:0")
			require.ErrorIs(t, err, upgrade.ErrInProgress)
			c.giveUp(u, cancel)
			require.ErrorIs(t, receive(t, result), c.want)
			requireNoChild(t)
			require.Equal(t, os.Getpid(), pid(t, ln.Addr()))
			if c.want == upgrade.ErrStopped {
				receive(t, u.Exit())
				require.ErrorIs(t, u.Err(), upgrade.ErrStopped)
				require.ErrorIs(t, u.Upgrade(t.Context()), upgrade.ErrStopped)
			}
		})
	}
}

// Whichever comes first, Stop or the end of the upgrade: there is one server in the end, or none.
func TestStopDuringAnUpgrade(t *testing.T) {
	for i := range 20 {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			u, ln := begin(t, "serves", "tcp", "127.0.0.1:0")
			require.NoError(t, u.Ready())
			result := make(chan error, 1)
			go func() { result <- u.Upgrade(context.Background()) }()
			<-time.After(rand.N(20 * time.Millisecond)) // it takes about as long
			u.Stop()
			receive(t, u.Exit())
			err := receive(t, result)
			require.NoError(t, ln.Close())
			if err == nil {
				require.ErrorIs(t, u.Err(), upgrade.ErrReplaced)
				end(t, ln.Addr())
				return
			}
			require.ErrorIs(t, err, upgrade.ErrStopped)
			require.ErrorIs(t, u.Err(), upgrade.ErrStopped)
			requireNoChild(t)
			require.True(t, isRefused(ln.Addr()))
		})
	}
}

// What is passed to a program that runs others first is still there for it.
func TestUpgradeToAScript(t *testing.T) {
	options := program("serves", "tcp", "127.0.0.1:0")
	options.Args = []string{"sh", "-c", childMode + `="gives up" "$0"; exec "$0"`, options.Path}
	options.Path = "/bin/sh"
	u, ln := beginWith(t, options, "tcp", "127.0.0.1:0")
	require.NoError(t, u.Ready())
	require.NoError(t, u.Upgrade(t.Context()))
	require.NoError(t, ln.Close())
	require.Equal(t, u.Successor(), pid(t, ln.Addr()))
	end(t, ln.Addr())
}

// Whoever takes the place of a process that a watchdog watches is watched.
func TestWatchdogFollows(t *testing.T) {
	for watched, want := range map[int]func(*upgrade.Upgrader) int{
		os.Getpid(): (*upgrade.Upgrader).Successor,
		1:           func(*upgrade.Upgrader) int { return 1 },
	} {
		t.Run(strconv.Itoa(watched), func(t *testing.T) {
			t.Setenv("WATCHDOG_PID", strconv.Itoa(watched))
			u, ln := begin(t, "serves", "tcp", "127.0.0.1:0")
			require.NoError(t, u.Ready())
			require.NoError(t, u.Upgrade(t.Context()))
			require.NoError(t, ln.Close())
			c := dial(t, ln.Addr())
			require.Equal(t, strconv.Itoa(want(u)), c.ask(t, "watchdog"))
			require.NoError(t, c.Close())
			end(t, ln.Addr())
		})
	}
}

// A parent that is of another kind, or out of its mind, is as good as none.
func TestStrangeParents(t *testing.T) {
	for name, says := range map[string]string{
		"twice go":     "go\ngo\n",
		"nonsense":     "go\nhello\n",
		"never go":     "retire\n",
		"says nothing": "",
	} {
		t.Run(name, func(t *testing.T) {
			leak.Check(t)
			ln := listen(t, "tcp", "127.0.0.1:0")
			cmd, parent := fakeParent(t, "serves quietly", "worker", ln)
			_, err := fmt.Fprintf(parent, "pid %d\n", cmd.Process.Pid)
			require.NoError(t, err)
			line, err := parent.reader.ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, "ready\n", line)
			if says == "" {
				require.NoError(t, parent.Close())
			} else {
				_, err = io.WriteString(parent, says)
				require.NoError(t, err)
			}
			cmd.Wait()
			require.Contains(t, []int{0, 1}, cmd.ProcessState.ExitCode(), "it ends in order, before it serves or after that")
		})
	}
}

// Whoever asks at the same time: one upgrade is made, or all fail.
func TestOneUpgradeAtATime(t *testing.T) {
	u, ln := begin(t, "serves", "tcp", "127.0.0.1:0")
	require.NoError(t, u.Ready())
	results := make(chan error, 8)
	var all sync.WaitGroup
	for range cap(results) {
		all.Go(func() { results <- u.Upgrade(t.Context()) })
	}
	all.Wait()
	succeeded := 0
	for range cap(results) {
		err := <-results
		if err == nil {
			succeeded++
		} else {
			require.True(t, errors.Is(err, upgrade.ErrInProgress) || errors.Is(err, upgrade.ErrReplaced), "%v", err)
		}
	}
	require.Equal(t, 1, succeeded)
	require.NoError(t, ln.Close())
	end(t, ln.Addr())
}

// What a socket's path becomes, whoever closes when.
func TestUnixPaths(t *testing.T) {
	exists := func(path string) bool {
		_, err := os.Stat(path)
		return err == nil
	}
	t.Run("closed", func(t *testing.T) {
		path := unixPath(t)
		_, ln := begin(t, "serves", "unix", path)
		require.True(t, exists(path))
		require.NoError(t, ln.Close())
		require.False(t, exists(path))
	})
	t.Run("kept", func(t *testing.T) {
		path := unixPath(t)
		u, ln := begin(t, "serves", "unix", path)
		ln.(interface{ SetUnlinkOnClose(bool) }).SetUnlinkOnClose(false)
		require.Zero(t, u.Files())
		ln.(interface{ SetUnlinkOnClose(bool) }).SetUnlinkOnClose(true)
		require.Equal(t, 1, u.Files())
		ln.(interface{ SetUnlinkOnClose(bool) }).SetUnlinkOnClose(false)
		require.NoError(t, ln.Close())
		require.True(t, exists(path))
	})
	t.Run("closed during an upgrade that fails", func(t *testing.T) {
		path := unixPath(t)
		u, ln := begin(t, "hangs", "unix", path)
		require.NoError(t, u.Ready())
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- u.Upgrade(ctx) }()
		eventually(t, hasChild, "a process is started")
		require.NoError(t, ln.Close())
		require.True(t, exists(path), "it may be the new one's")
		cancel()
		require.ErrorIs(t, receive(t, result), context.Canceled)
		require.False(t, exists(path))
	})
	t.Run("left by the dead", func(t *testing.T) {
		path := unixPath(t)
		dead, err := net.Listen("unix", path)
		require.NoError(t, err)
		dead.(*net.UnixListener).SetUnlinkOnClose(false)
		require.NoError(t, dead.Close())
		_, ln := begin(t, "serves", "unix", path)
		require.Equal(t, os.Getpid(), pid(t, ln.Addr()))
		_, err = net.Listen("unix", path)
		require.ErrorIs(t, err, syscall.EADDRINUSE)
	})
	t.Run("taken by another", func(t *testing.T) {
		path := unixPath(t)
		u, ln := begin(t, "serves", "unix", path)
		require.NoError(t, u.Ready())
		require.NoError(t, u.Upgrade(t.Context()))
		require.NoError(t, ln.Close())
		c := dial(t, ln.Addr()) // of the new process
		require.NoError(t, os.Remove(path))
		other := listen(t, "unix", path)
		c.ask(t, "end")
		require.NoError(t, c.Close())
		eventually(t, func() bool { return !hasChild() }, "it ends")
		require.True(t, exists(path))
		require.NoError(t, other.Close())
	})
	t.Run("of no use to the new process", func(t *testing.T) {
		u, ln := begin(t, "serves", "tcp", "127.0.0.1:0")
		path := unixPath(t)
		other, err := u.Listen("unix", path)
		require.NoError(t, err)
		require.NoError(t, u.Ready())
		require.NoError(t, u.Upgrade(t.Context()))
		require.NoError(t, ln.Close())
		require.NoError(t, other.Close())
		pid(t, ln.Addr()) // has come that far
		require.False(t, exists(path))
		end(t, ln.Addr())
	})
	t.Run("passed on twice", func(t *testing.T) {
		path := unixPath(t)
		u, ln := begin(t, "serves", "unix", path)
		require.NoError(t, u.Ready())
		require.NoError(t, u.Upgrade(t.Context()))
		require.NoError(t, ln.Close())
		first := pid(t, ln.Addr())
		process, err := os.FindProcess(first)
		require.NoError(t, err)
		require.NoError(t, process.Signal(syscall.SIGHUP))
		eventually(t, func() bool { return pid(t, ln.Addr()) != first }, "it is upgraded")
		require.True(t, exists(path))
		end(t, ln.Addr())
		require.False(t, exists(path))
	})
}

// A socket that the new process does not ask for is closed there: nobody waits in a queue that nobody serves.
func TestUnclaimedSockets(t *testing.T) {
	u, ln := begin(t, "serves", "tcp", "127.0.0.1:0")
	other, err := u.Listen("tcp", "127.0.0.1:0") // the second of the same words
	require.NoError(t, err)
	require.NoError(t, u.Ready())
	require.NoError(t, u.Upgrade(t.Context()))
	require.NoError(t, ln.Close())
	require.NoError(t, other.Close())
	require.True(t, isRefused(other.Addr()))
	end(t, ln.Addr())
}

// Sockets of the same words are told apart by their order, and a new process may have more of them.
func TestSeveralSockets(t *testing.T) {
	u, ln := begin(t, "serves twice", "tcp", "127.0.0.1:0")
	other, err := u.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed, err := u.Listen("tcp", "127.0.0.1:0") // is not passed on
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	require.NoError(t, u.Ready())
	require.NoError(t, u.Upgrade(t.Context()))
	require.NoError(t, ln.Close())
	require.NoError(t, other.Close())
	require.True(t, isRefused(closed.Addr()))
	require.Equal(t, pid(t, ln.Addr()), pid(t, other.Addr()))
	end(t, ln.Addr())
}

func TestListenErrors(t *testing.T) {
	leak.Check(t)
	u, err := upgrade.New(upgrade.Options{})
	require.NoError(t, err)
	defer u.Stop()
	ln, err := u.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	var opError *net.OpError
	_, err = u.Listen("tcp", ln.Addr().String())
	require.ErrorAs(t, err, &opError)
	_, err = u.Listen("udp", "127.0.0.1:0")
	require.ErrorAs(t, err, &opError)
	_, err = u.ListenPacket("tcp", "127.0.0.1:0")
	require.ErrorAs(t, err, &opError)
	_, err = u.ListenName("web")
	require.EqualError(t, err, `upgrade: no listener called "web" was inherited`)
	require.Empty(t, u.Inherited())
	require.False(t, u.IsWorker())
	require.False(t, u.IsSuccessor())
	u.Stop()
	u.Stop()
	_, err = u.Listen("tcp", "127.0.0.1:0")
	require.ErrorIs(t, err, upgrade.ErrStopped)
	require.ErrorIs(t, u.Ready(), upgrade.ErrStopped)
}
