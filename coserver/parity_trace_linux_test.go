package coserver_test

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// shaper tells results without what is different for every connection: its addresses.
type shaper struct{ local, remote string }

// outcome is what a call returned: how many bytes, which, and the whole shape of the error.
func (s shaper) outcome(n int, data []byte, err error) string {
	return fmt.Sprintf("%d %08x %s", n, crc32.ChecksumIEEE(data), s.shape(err))
}

// shape tells everything of an error that a caller could depend on.
func (s shaper) shape(err error) string {
	if err == nil {
		return "ok"
	}
	var b strings.Builder
	for e := err; e != nil; e = errors.Unwrap(e) {
		switch e := e.(type) {
		case *net.OpError:
			fmt.Fprintf(&b, "OpError{%s %s %s %s} ", e.Op, e.Net, s.addr(e.Source), s.addr(e.Addr))
		case *os.SyscallError:
			fmt.Fprintf(&b, "SyscallError{%s} ", e.Syscall)
		case syscall.Errno:
			fmt.Fprintf(&b, "%s ", unix.ErrnoName(e))
		default:
			fmt.Fprintf(&b, "%T ", e)
		}
	}
	var netError interface {
		error
		Timeout() bool
		Temporary() bool // deprecated, and still asked for by servers that accept
	}
	if errors.As(err, &netError) {
		fmt.Fprintf(&b, "timeout=%t temporary=%t ", netError.Timeout(), netError.Temporary())
	}
	for name, target := range map[string]error{"EOF": io.EOF, "UnexpectedEOF": io.ErrUnexpectedEOF} {
		if err == target {
			fmt.Fprintf(&b, "bare %s ", name)
		}
	}
	fmt.Fprintf(&b, "closed=%t deadline=%t ", errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded))
	fmt.Fprintf(&b, "%q", s.mask(err.Error()))
	return b.String()
}

// addr tells whose address it is, and of which type.
func (s shaper) addr(addr net.Addr) string {
	if addr == nil {
		return "-"
	}
	return fmt.Sprintf("%T:%s", addr, s.mask(addr.String()))
}

func (s shaper) mask(text string) string {
	return strings.NewReplacer(s.local, "LOCAL", s.remote, "REMOTE").Replace(text)
}
