package coserver

// CheckAlive tells what is known against the connection, without reading and without waiting: nothing (nil), io.EOF if the peer has
// sent its last byte, a *net.OpError with ECONNRESET if the connection has failed, or with net.ErrClosed after Close. What came
// before the peer's end may be unread still, and a peer that has ended may be there to read; after CloseRead of this end it is
// io.EOF, too. With TLS it is the end of the connection below that counts. A peer that was switched off, or whose network was, is known to be gone only when keep-alive has found out
// (SetKeepAliveConfig), or by its silence (Server.IdleTimeout). It makes one system call. Safe from any goroutine, also while others
// read.
func (c *Conn) CheckAlive() error { return c.readError(c.sock.Ended()) }
