package loop_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/strand-net/strand/loop"
)

// socketPath returns a path that is short enough for a socket.
func socketPath(t *testing.T) string {
	dir, err := os.MkdirTemp("", "strand")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// leaveBehind leaves a socket's file as a process does that dies.
func leaveBehind(t *testing.T, path string) {
	ln, err := net.Listen("unix", path)
	require.NoError(t, err)
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, ln.Close())
	_, err = os.Lstat(path)
	require.NoError(t, err)
}

// faults.md N9: the file of a process that died is no obstacle.
func TestStaleSocketFile(t *testing.T) {
	e := newEngine(t, loop.Config{})
	path := socketPath(t)
	for range 3 {
		leaveBehind(t, path)
		ln, err := e.Start("unix", path, loop.Service{Handler: callbacks{data: echo}})
		require.NoError(t, err)
		exchange(t, dial(t, ln.Addr()), "there")
		require.NoError(t, ln.Close())
		_, err = os.Lstat(path)
		require.ErrorIs(t, err, os.ErrNotExist)
	}
	leaveBehind(t, path)
	t.Chdir(filepath.Dir(path))
	ln, err := e.Start("unix", "s", loop.Service{Handler: callbacks{data: echo}}) // by a relative name
	require.NoError(t, err)
	exchange(t, dial(t, ln.Addr()), "there")
	require.NoError(t, ln.Close())
}

// faults.md N9: what is somebody else's stays, whatever it is, and the error says what is in the way.
func TestForeignSocketFile(t *testing.T) {
	listen := func(t *testing.T, network, path string) {
		ln, err := net.Listen(network, path)
		require.NoError(t, err)
		t.Cleanup(func() { ln.Close() })
	}
	foreign := map[string]struct {
		put  func(t *testing.T, path string)
		want string
	}{
		"file":      {func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600)) }, "not a socket"},
		"directory": {func(t *testing.T, path string) { require.NoError(t, os.Mkdir(path, 0o700)) }, "a directory"},
		"link": {func(t *testing.T, path string) {
			leaveBehind(t, path+"2")
			require.NoError(t, os.Symlink(path+"2", path))
		}, "a symbolic link"},
		"pipe":     {func(t *testing.T, path string) { require.NoError(t, unix.Mkfifo(path, 0o600)) }, "not a socket"},
		"listener": {func(t *testing.T, path string) { listen(t, "unix", path) }, "somebody listens there"},
		"listener with a full backlog": {func(t *testing.T, path string) {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			require.NoError(t, err)
			t.Cleanup(func() { unix.Close(fd) })
			require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
			require.NoError(t, unix.Listen(fd, 0))
			for err = nil; err == nil; {
				client, clientErr := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
				require.NoError(t, clientErr)
				t.Cleanup(func() { unix.Close(client) })
				err = unix.Connect(client, &unix.SockaddrUnix{Name: path})
			}
			require.Equal(t, unix.EAGAIN, err)
		}, "somebody listens there"},
		"packets": {func(t *testing.T, path string) { listen(t, "unixpacket", path) }, "another kind"},
		"datagrams": {func(t *testing.T, path string) {
			c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
			require.NoError(t, err)
			t.Cleanup(func() { c.Close() })
		}, "another kind"},
	}
	if os.Geteuid() == 0 { // nobody else can give a file away
		foreign["another user's"] = struct {
			put  func(t *testing.T, path string)
			want string
		}{func(t *testing.T, path string) {
			leaveBehind(t, path)
			require.NoError(t, os.Lchown(path, 12345, -1))
		}, "user 12345"}
	}
	for name, test := range foreign {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, loop.Config{})
			path := socketPath(t)
			test.put(t, path)
			before, err := os.Lstat(path)
			require.NoError(t, err)
			_, err = e.Listen("unix", path)
			require.ErrorIs(t, err, syscall.EADDRINUSE)
			require.ErrorContains(t, err, test.want)
			require.ErrorContains(t, err, path)
			var opError *net.OpError
			require.ErrorAs(t, err, &opError)
			after, err := os.Lstat(path)
			require.NoError(t, err)
			require.True(t, os.SameFile(before, after))
		})
	}
}

// Close removes the file that Listen has made, and none that has come to its place.
func TestCloseLeavesAnothersFile(t *testing.T) {
	e := newEngine(t, loop.Config{})
	for name, replace := range map[string]func(path string){
		"file":   func(path string) { require.NoError(t, os.WriteFile(path, nil, 0o600)) },
		"socket": func(path string) { leaveBehind(t, path) },
		"listener": func(path string) {
			ln, err := net.Listen("unix", path)
			require.NoError(t, err)
			t.Cleanup(func() { ln.Close() })
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := socketPath(t)
			ln, err := e.Listen("unix", path)
			require.NoError(t, err)
			require.NoError(t, os.Remove(path))
			replace(path)
			before, err := os.Lstat(path)
			require.NoError(t, err)
			require.NoError(t, ln.Close())
			after, err := os.Lstat(path)
			require.NoError(t, err)
			require.True(t, os.SameFile(before, after))
		})
	}
}

// Of all that find the same stale file, one gets its place, and keeps it.
func TestStaleSocketFileRace(t *testing.T) {
	e := newEngine(t, loop.Config{Loops: 1})
	for round := range 4 {
		path := socketPath(t)
		leaveBehind(t, path)
		listeners := make(chan *loop.Listener, 10)
		var all sync.WaitGroup
		for range cap(listeners) {
			all.Go(func() {
				ln, err := e.Start("unix", path, loop.Service{Handler: callbacks{data: echo}})
				if err == nil {
					listeners <- ln
				} else if !errors.Is(err, syscall.EADDRINUSE) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		require.Len(t, listeners, 1, "round %d", round)
		ln := <-listeners
		exchange(t, dial(t, ln.Addr()), "there")
		require.NoError(t, ln.Close())
	}
}

// Somebody who knows nothing of us replaces the same stale file while we look at it, and is about to listen. The new file is
// theirs and stays, also if it has got the number of the old one.
func TestStaleSocketFileIsReplacedBySomebodyElse(t *testing.T) {
	e := newEngine(t, loop.Config{Loops: 1})
	for range 3 {
		path := socketPath(t)
		leaveBehind(t, path)
		stale, err := os.Lstat(path)
		require.NoError(t, err)
		type outcome struct {
			ln  *loop.Listener
			err error
		}
		result := make(chan outcome, 1)
		go func() {
			ln, err := e.Listen("unix", path)
			result <- outcome{ln, err}
		}()
		for len(result) == 0 && !heldOpen(path) { // until it is looking
			runtime.Gosched()
		}
		// On a slow machine it may have got on with it. Whoever is first has the path then.
		ours := func() {
			o := receive(t, result)
			require.NoError(t, o.err)
			require.NoError(t, o.ln.Close())
		}
		aside := path + ".aside"
		if err := os.Rename(path, aside); errors.Is(err, os.ErrNotExist) {
			ours()
			continue
		}
		moved, err := os.Lstat(aside)
		require.NoError(t, err)
		if !os.SameFile(stale, moved) {
			ours()
			continue
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err == unix.EADDRINUSE {
			require.NoError(t, unix.Close(fd))
			ours()
			continue
		}
		require.NoError(t, err)
		require.ErrorIs(t, receive(t, result).err, syscall.EADDRINUSE)
		require.NoError(t, unix.Listen(fd, 1))
		conn, err := net.Dial("unix", path)
		require.NoError(t, err, "it is theirs")
		require.NoError(t, conn.Close())
		require.NoError(t, unix.Close(fd))
	}
}

// heldOpen reports whether this process has a descriptor of what is, or was, at path.
func heldOpen(path string) bool {
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return false
	}
	for _, d := range descriptors {
		if target, err := os.Readlink("/proc/self/fd/" + d.Name()); err == nil && target == path {
			return true
		}
	}
	return false
}
