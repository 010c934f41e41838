//go:build linux || ((darwin || dragonfly || freebsd || netbsd || openbsd) && !386 && !arm)

package sys

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A unix socket leaves its file behind when its process dies, and bind(2) then fails with EADDRINUSE for ever (unix(7), unix(4)). What
// follows replaces such a file, and no other.

const (
	// probePause is the time between two attempts to connect to what may be a stale file: a process that is just about to listen there
	// has bound its socket and refuses too, for some microseconds.
	probePause = 50 * time.Millisecond

	// lockPatience is how long to wait for others who replace a file in the same directory.
	lockPatience = time.Second
	lockPause    = 5 * time.Millisecond
)

// Listen is the Listen of config, but for such a file.
func Listen(config *net.ListenConfig, network, address string) (net.Listener, error) {
	listener, err := config.Listen(context.Background(), network, address)
	var inUse *net.OpError
	if network == "unix" && errors.Is(err, syscall.EADDRINUSE) && errors.As(err, &inUse) && !isAbstract(address) {
		return replaceStale(config, address, inUse)
	}
	return listener, err
}

// replaceStale listens at a path where there is something: if that is the socket of a process of ours that is gone. inUse is the
// error that bind has failed with.
func replaceStale(config *net.ListenConfig, path string, inUse *net.OpError) (net.Listener, error) {
	unlock, err := lockDirectory(filepath.Dir(path))
	if err != nil {
		return nil, because(inUse, err.Error())
	}
	defer unlock() // after the new socket listens, so that whoever comes next sees that
	if err := removeStale(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, because(inUse, err.Error())
	}
	return config.Listen(context.Background(), "unix", path)
}

// removeStale removes the socket at path, or says why not.
func removeStale(path string) error {
	before, forget, err := hold(path)
	if err != nil {
		return err
	}
	defer forget()
	if reason := whyNotStale(path, before); reason != "" {
		return errors.New(reason)
	}
	if after, err := os.Lstat(path); err != nil {
		return err
	} else if !os.SameFile(before, after) {
		return errReplaced
	}
	return removeOnly(before, path)
}

var errReplaced = errors.New("somebody else has just replaced it")

// removeOnly removes a file from path if it is still there. What else is there after the last look must not go: it is moved aside, looked at, and
// moved back unless there is something again.
func removeOnly(file os.FileInfo, path string) error {
	aside := fmt.Sprintf("%s.%016x", path, rand.Uint64())
	if err := os.Rename(path, aside); err != nil {
		return err
	}
	moved, err := os.Lstat(aside)
	if err == nil && os.SameFile(file, moved) {
		return os.Remove(aside)
	}
	if err := os.Link(aside, path); err != nil { // rename(2) would replace what is there
		return fmt.Errorf("somebody else has just replaced it, and that is now %s: %w", aside, err)
	}
	if err := os.Remove(aside); err != nil {
		return err
	}
	return errReplaced
}

// because adds to an error what is in the way.
func because(inUse *net.OpError, reason string) error {
	explained := *inUse
	explained.Err = fmt.Errorf("%w: %s", inUse.Err, reason)
	return &explained
}

// whyNotStale returns what is to be said against the removal of a file, or "".
func whyNotStale(path string, file os.FileInfo) string {
	switch {
	case file.IsDir():
		return "a directory is in the way"
	case file.Mode()&os.ModeSymlink != 0:
		return "a symbolic link is in the way"
	case file.Mode()&os.ModeSocket == 0:
		return "a file that is not a socket is in the way"
	}
	if stat, ok := file.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return fmt.Sprintf("a socket of user %d is in the way", stat.Uid)
	}
	for attempt := range 2 {
		if attempt > 0 {
			time.Sleep(probePause)
		}
		switch err := probe(path); err {
		case unix.ECONNREFUSED:
		case nil, unix.EAGAIN: // its backlog is full
			return "somebody listens there"
		case unix.EPROTOTYPE:
			return "a socket of another kind is in the way"
		default:
			return os.NewSyscallError("connect", err).Error()
		}
	}
	return ""
}

// probe connects to a socket without waiting.
func probe(path string) error {
	fd, err := socket(unix.AF_UNIX)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for {
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != unix.EINTR {
			return err
		}
	}
}

// lockDirectory keeps out others who look for stale files in the directory (flock(2)). Where it cannot be locked, whoever replaces
// a file has to rely on looking twice.
func lockDirectory(path string) (unlock func(), err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return func() {}, nil
	}
	for begin := time.Now(); ; time.Sleep(lockPause) {
		switch err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); {
		case err == unix.EWOULDBLOCK && time.Since(begin) > lockPatience:
			unix.Close(fd)
			return nil, errors.New("somebody holds a lock on the directory")
		case err == unix.EWOULDBLOCK || err == unix.EINTR:
		default:
			return func() { unix.Close(fd) }, nil
		}
	}
}
