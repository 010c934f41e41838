package bench

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/strand-net/strand/poller"
)

// maxHandshakes bounds the connections that are being made at the same time, to stay below a usual listen backlog.
const maxHandshakes = 64

// connect makes all connections.
func (g *generator) connect() error {
	begin := g.kernel.Nanotime()
	started, done := 0, 0
	for done < len(g.conns) {
		for started < len(g.conns) && started-done < maxHandshakes {
			if err := g.dial(started); err != nil {
				return err
			}
			started++
		}
		n, err := g.poller.Wait(g.events, -1)
		if err != nil {
			return err
		}
		g.now = g.kernel.Nanotime()
		for _, event := range g.events[:n] {
			i := int(event.Token)
			if g.conns[i].connected || event.Readiness&(poller.Writable|poller.Closed) == 0 {
				continue
			}
			if errno := socketError(g.conns[i].fd); errno != 0 {
				return g.fault(i, os.NewSyscallError("connect", errno))
			}
			g.conns[i].connected = true
			done++
		}
		if g.ctx.Err() != nil {
			return context.Cause(g.ctx)
		}
		if g.now-begin > int64(g.opts.Stall) && done < started {
			if i, late := g.lateHandshake(started); late {
				return g.fault(i, fmt.Errorf("connect: no answer for %v", g.opts.Stall))
			}
		}
	}
	g.result.ConnectTime = time.Duration(g.kernel.Nanotime() - begin)
	return nil
}

func (g *generator) dial(i int) error {
	fd, errno := openSocket(g.addr)
	if errno != 0 {
		return g.fault(i, os.NewSyscallError("socket", errno))
	}
	g.conns[i].fd = fd
	g.conns[i].heard = g.kernel.Nanotime()
	if errno := connectSocket(fd, g.addr); errno != 0 && errno != syscall.EINPROGRESS {
		return g.fault(i, os.NewSyscallError("connect", errno))
	}
	return g.poller.Add(fd, poller.Token(i), poller.Readable|poller.Writable)
}

// lateHandshake finds a connection that has been waiting for too long.
func (g *generator) lateHandshake(started int) (int, bool) {
	for i := range g.conns[:started] {
		if c := &g.conns[i]; !c.connected && g.now-c.heard > int64(g.opts.Stall) {
			return i, true
		}
	}
	return 0, false
}
