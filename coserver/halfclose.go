package coserver

import (
	"net"

	"github.com/strand-net/strand/loop"
)

// CloseWrite sends what is gathered and then the end of the stream, that of TLS if there is one: the peer reads io.EOF, and may
// go on sending. Later writes fail, with EPIPE or an error of package crypto/tls.
func (c *Conn) CloseWrite() error {
	if err := c.lock(loop.WriteSide); err != nil {
		return c.opError("close", err)
	}
	var err error
	if c.output.size > 0 {
		_, err = c.sendGathered()
	}
	switch {
	case err != nil:
	case c.secure != nil:
		err = c.secure.closeWrite()
	default:
		c.wishes.Or(wishNoWrites)
		err = c.sock.Shutdown(loop.ShutWrite)
	}
	c.unlock(loop.WriteSide)
	if err != nil {
		return c.opError("close", err)
	}
	return nil
}

// CloseRead ends reading: calls that read, also one that waits already, return io.EOF when what has arrived is used up.
// Writing goes on.
func (c *Conn) CloseRead() error {
	if c.closed.Load() {
		return c.opError("close", net.ErrClosed)
	}
	if err := c.sock.Shutdown(loop.ShutRead); err != nil {
		return c.opError("close", err)
	}
	return nil
}
