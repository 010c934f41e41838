package coserver

import (
	"context"
	"runtime/pprof"
)

// labelled calls do with the labels of the connection. They are the goroutine's, and a coroutine is one: so they stay with an inline
// handler, and its loop does not get them.
func (c *Conn) labelled(do func()) {
	labels := pprof.Labels("server", c.LocalAddr().String(), "remote", c.RemoteAddr().String())
	pprof.Do(context.Background(), labels, func(context.Context) { do() })
}

// labelled returns do with the labels of t's connection if its server wants any. A goroutine of the pool that the connection's was the
// first to need has them in any case, and would keep them.
func (t *task) labelled(do func()) func() {
	if t.conn == nil || !t.conn.run.server.Labels {
		return do
	}
	return func() { t.conn.labelled(do) }
}
