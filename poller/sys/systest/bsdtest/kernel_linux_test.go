package bsdtest_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/strand-net/strand/poller/pollertest/leak"
	"github.com/strand-net/strand/poller/sys"
	"github.com/strand-net/strand/poller/sys/systest/bsdtest"
)

func TestMain(m *testing.M) { leak.Main(m) }

// fixture is a kqueue and what is asked of it. Each test cites the rule of kqueue(2) that it is about.
type fixture struct {
	*testing.T
	kernel *bsdtest.Kernel
	kq     int
}

func newFixture(t *testing.T) *fixture {
	leak.Check(t)
	kernel := bsdtest.New()
	kq, errno := kernel.Kqueue()
	require.Zero(t, errno)
	t.Cleanup(func() { require.Zero(t, kernel.Close(kq)) })
	return &fixture{t, kernel, kq}
}

func (f *fixture) make(changes ...sys.Kevent) syscall.Errno {
	_, errno := f.kernel.Kevent(f.kq, changes, nil, -1) // without room for events no timeout counts
	return errno
}

// active returns the events that there are.
func (f *fixture) active(room int) []sys.Kevent {
	f.Helper()
	events := make([]sys.Kevent, room)
	n, errno := f.kernel.Kevent(f.kq, nil, events, 0)
	require.Zero(f, errno)
	return events[:n]
}

func (f *fixture) socketPair() (a, b int) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	require.NoError(f, err)
	f.Cleanup(func() { f.kernel.Close(fds[0]); f.kernel.Close(fds[1]) })
	return fds[0], fds[1]
}

func (f *fixture) write(fd int, data string) {
	f.Helper()
	n, err := unix.Write(fd, []byte(data))
	require.NoError(f, err)
	require.Equal(f, len(data), n)
}

func read(fd int) sys.Kevent {
	return sys.Kevent{Ident: uint64(fd), Filter: sys.EVFILT_READ, Flags: sys.EV_ADD | sys.EV_CLEAR, Udata: 1}
}

func write(fd int) sys.Kevent {
	return sys.Kevent{Ident: uint64(fd), Filter: sys.EVFILT_WRITE, Flags: sys.EV_ADD | sys.EV_CLEAR, Udata: 2}
}

func remove(event sys.Kevent) sys.Kevent {
	event.Flags = sys.EV_DELETE
	return event
}

// kqueue(2), EV_CLEAR: an event with it is over once it has been returned, one without stays. DESCRIPTION: what has ended meanwhile is not
// returned.
func TestEdgeAndLevel(t *testing.T) {
	f := newFixture(t)
	a, b := f.socketPair()
	f.write(b, "12345")
	require.Zero(t, f.make(read(a)), "and the condition that holds already is seen")
	want := sys.Kevent{Ident: uint64(a), Filter: sys.EVFILT_READ, Flags: sys.EV_CLEAR, Data: 5, Udata: 1}
	require.Equal(t, []sys.Kevent{want}, f.active(4))
	require.Empty(t, f.active(4))
	f.write(b, "6")
	_, err := unix.Read(a, make([]byte, 10))
	require.NoError(t, err)
	require.Empty(t, f.active(4), "it holds no more")

	f.write(b, "7")
	level := read(a)
	level.Flags = sys.EV_ADD
	level.Udata = 9
	require.Zero(t, f.make(level), "to add an event anew modifies it")
	want.Flags, want.Data, want.Udata = 0, 1, 9
	for range 3 {
		require.Equal(t, []sys.Kevent{want}, f.active(4))
	}
}

// kqueue(2), DESCRIPTION: an event is a descriptor and a filter. What is written makes nobody writable.
func TestFiltersAreApart(t *testing.T) {
	f := newFixture(t)
	a, b := f.socketPair()
	require.Zero(t, f.make(read(a), write(a)))
	first := f.active(4)
	require.Len(t, first, 1)
	require.EqualValues(t, sys.EVFILT_WRITE, first[0].Filter)
	require.Positive(t, first[0].Data)
	f.write(b, "x")
	second := f.active(4)
	require.Len(t, second, 1)
	require.EqualValues(t, sys.EVFILT_READ, second[0].Filter)
}

// kqueue(2), EVFILT_READ: EV_EOF comes when the peer has shut down, together with how many bytes there are before that. EVFILT_WRITE has it when
// the own direction is shut down.
func TestEndOfFile(t *testing.T) {
	f := newFixture(t)
	a, b := f.socketPair()
	require.Zero(t, f.make(read(a), write(a)))
	require.Len(t, f.active(4), 1)
	f.write(b, "abc")
	require.NoError(t, unix.Shutdown(b, unix.SHUT_WR))
	require.Equal(t, []sys.Kevent{
		{Ident: uint64(a), Filter: sys.EVFILT_READ, Flags: sys.EV_CLEAR | sys.EV_EOF, Data: 3, Udata: 1},
	}, byFilter(f.active(4), sys.EVFILT_READ))

	c, _ := f.socketPair()
	require.NoError(t, unix.Shutdown(c, unix.SHUT_WR))
	require.Zero(t, f.make(write(c)))
	told := f.active(4)
	require.Len(t, told, 1)
	require.EqualValues(t, sys.EV_CLEAR|sys.EV_EOF, told[0].Flags)
	require.Zero(t, told[0].Fflags, "no error")
}

func byFilter(events []sys.Kevent, filter int16) (of []sys.Kevent) {
	for _, event := range events {
		if event.Filter == filter {
			of = append(of, event)
		}
	}
	return of
}

// kqueue(2), EVFILT_READ: with EV_EOF, fflags has the error of a socket, if there is one.
func TestResetIsAnError(t *testing.T) {
	f := newFixture(t)
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(listener)
	require.NoError(t, unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, unix.Listen(listener, 1))
	address, err := unix.Getsockname(listener)
	require.NoError(t, err)
	a, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(a)
	require.Zero(t, f.make(read(listener)))
	require.NoError(t, unix.Connect(a, address))
	waiting := f.active(4)
	require.Len(t, waiting, 1, "EVFILT_READ: there is a connection to accept")
	require.Positive(t, waiting[0].Data)
	b, _, err := unix.Accept(listener)
	require.NoError(t, err)
	require.NoError(t, unix.SetsockoptLinger(b, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
	require.Zero(t, f.make(read(a), write(a)))
	require.Len(t, f.active(4), 1)
	require.NoError(t, unix.Close(b))
	events := make([]sys.Kevent, 1)
	n, errno := f.kernel.Kevent(f.kq, nil, events, -1)
	require.Zero(t, errno)
	require.Equal(t, 1, n)
	require.EqualValues(t, sys.EV_CLEAR|sys.EV_EOF, events[0].Flags)
	require.NotZero(t, events[0].Fflags)
	_, err = unix.Read(a, make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET, "to look at the error has not taken it away")
}

// kqueue(2), RETURN VALUES: a change that fails is told in the list of events, with EV_ERROR and the error in data, if there is room; else kevent
// fails with its error.
func TestErrorsOfChanges(t *testing.T) {
	f := newFixture(t)
	a, b := f.socketPair()
	f.write(b, "x")
	unknown := sys.Kevent{Ident: uint64(a), Filter: -100, Flags: sys.EV_ADD}
	require.Equal(t, syscall.EINVAL, f.make(unknown))
	require.Equal(t, syscall.ENOENT, f.make(remove(read(a))))
	require.Equal(t, syscall.EBADF, f.make(read(1<<30)))
	require.Equal(t, syscall.ENOENT, f.make(sys.Kevent{Filter: sys.EVFILT_USER, Fflags: sys.NOTE_TRIGGER}))

	// The first that fails ends it, where there is no room.
	require.Equal(t, syscall.ENOENT, f.make(read(a), remove(write(a)), write(a)))
	require.Zero(t, f.make(remove(read(a))), "the one before was made")
	require.Equal(t, syscall.ENOENT, f.make(remove(write(a))), "the one after was not")

	events := make([]sys.Kevent, 3)
	n, errno := f.kernel.Kevent(f.kq, []sys.Kevent{unknown, read(a), remove(write(a))}, events, -1)
	require.Zero(t, errno)
	require.Equal(t, 2, n)
	for i, want := range []syscall.Errno{syscall.EINVAL, syscall.ENOENT} {
		require.EqualValues(t, sys.EV_ERROR, events[i].Flags)
		require.EqualValues(t, want, events[i].Data)
	}
	require.Len(t, f.active(4), 1, "the one between was made")
	_, errno = f.kernel.Kevent(a, nil, events, 0)
	require.Equal(t, syscall.EBADF, errno, "not a kqueue")
}

// kqueue(2), EVFILT_USER: such an event is the program's own, and NOTE_TRIGGER makes it active.
func TestUserEvents(t *testing.T) {
	f := newFixture(t)
	user := sys.Kevent{Ident: 7, Filter: sys.EVFILT_USER, Flags: sys.EV_ADD | sys.EV_CLEAR, Udata: 3}
	require.Zero(t, f.make(user))
	require.Empty(t, f.active(4))
	trigger := sys.Kevent{Ident: 7, Filter: sys.EVFILT_USER, Fflags: sys.NOTE_TRIGGER, Udata: 3}
	require.Zero(t, f.make(trigger, trigger))
	want := []sys.Kevent{{Ident: 7, Filter: sys.EVFILT_USER, Flags: sys.EV_CLEAR, Udata: 3}}
	require.Equal(t, want, f.active(4), "two are one")
	require.Empty(t, f.active(4))

	done := make(chan []sys.Kevent)
	go func() {
		events := make([]sys.Kevent, 4)
		n, errno := f.kernel.Kevent(f.kq, nil, events, -1)
		if errno != 0 {
			t.Error(errno)
		}
		done <- events[:n]
	}()
	require.Zero(t, f.make(trigger))
	require.Equal(t, want, <-done)
	require.Zero(t, f.make(remove(user)))
	require.Equal(t, syscall.ENOENT, f.make(trigger))
	f.kernel.NoUser = true
	require.Equal(t, syscall.EINVAL, f.make(user))
}

// kqueue(2), DESCRIPTION: close(2) removes the events of a descriptor.
func TestCloseRemoves(t *testing.T) {
	f := newFixture(t)
	a, b := f.socketPair()
	duplicate, err := unix.FcntlInt(uintptr(a), unix.F_DUPFD_CLOEXEC, 0)
	require.NoError(t, err)
	require.Zero(t, f.make(read(duplicate)))
	require.Zero(t, f.kernel.Close(duplicate))
	f.write(b, "x")
	require.Empty(t, f.active(4), "although the socket is open")
}

// kqueue(2), timeout: it ends the waiting with 0 events, and never before its time; one that is too long for macOS is EINVAL.
func TestTimeout(t *testing.T) {
	f := newFixture(t)
	for _, timeout := range []time.Duration{1, time.Millisecond, 15 * time.Millisecond} {
		begin := time.Now()
		n, errno := f.kernel.Kevent(f.kq, nil, make([]sys.Kevent, 1), timeout)
		require.Zero(t, errno)
		require.Zero(t, n)
		require.GreaterOrEqual(t, time.Since(begin), timeout)
	}
	_, errno := f.kernel.Kevent(f.kq, nil, make([]sys.Kevent, 1), 200_000_000*time.Second)
	require.Equal(t, syscall.EINVAL, errno)
}

// What is not there yet is not taken for something else.
func TestUnknownFlags(t *testing.T) {
	f := newFixture(t)
	a, _ := f.socketPair()
	require.PanicsWithValue(t, "bsdtest: kevent: flags 0x10 are not there yet", func() {
		f.make(sys.Kevent{Ident: uint64(a), Filter: sys.EVFILT_READ, Flags: sys.EV_ADD | 0x10})
	})
}
