package coserver

import (
	"errors"
	"io"
	"net"
)

// Relay passes on what comes from each connection to the other, until both have sent their last byte. The end of one
// direction is passed on too and does not end the other (CloseWrite). An error of one closes both, and is returned. Called from an inline handler whose loop both connections are on, it stays on that loop.
func Relay(a, b *Conn) error {
	back := make(chan error, 1)
	done := new(notice)
	beside(currentTask(), func() {
		back <- relayOne(a, b)
		done.give()
	})
	err := relayOne(b, a)
	done.wait()
	return firstCause(err, <-back)
}

// relayOne passes on one direction. If that fails, it makes the other direction fail too.
func relayOne(dst, src *Conn) error {
	_, err := io.Copy(dst, src)
	if err == nil {
		err = dst.CloseWrite()
	}
	if err == nil {
		return nil
	}
	src.shut(err)
	dst.shut(err)
	return err
}

// firstCause picks, of what the two directions failed with, what was not a consequence of the other.
func firstCause(one, other error) error {
	if one == nil || errors.Is(one, net.ErrClosed) && other != nil {
		return other
	}
	return one
}
