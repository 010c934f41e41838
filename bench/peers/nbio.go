package main

import (
	"net"
	"runtime"

	"github.com/lesismal/nbio"
	"github.com/lesismal/nbio/logging"
)

// serveNbio has a poller for each processor, which reads where it sees the event: level-triggered, as SetLTSyncRead of the library says. A
// handler must not block then, and these do not.
func serveNbio(addr string, split splitter, listening func(net.Addr)) error {
	logging.SetLevel(logging.LevelError)
	engine := nbio.NewEngine(nbio.Config{Network: "tcp", Addrs: []string{addr}, NPoller: runtime.GOMAXPROCS(0), EpollMod: nbio.EPOLLLT})
	engine.OnData(func(c *nbio.Conn, data []byte) { answerNbio(c, split, data) })
	if err := engine.Start(); err != nil {
		return err
	}
	bound, err := net.ResolveTCPAddr("tcp", engine.Addrs[0])
	if err != nil {
		return err
	}
	listening(bound)
	select {}
}

// remainder is the begin of a message that is not whole, and how long it must be before it is worth looking at.
type remainder struct {
	bytes []byte
	need  int
}

// answerNbio answers what has come straight from the library's buffer. What is no whole message is kept: the buffer is used for others next.
func answerNbio(c *nbio.Conn, split splitter, data []byte) {
	rest, _ := c.Session().(*remainder)
	if rest != nil && len(rest.bytes) > 0 {
		rest.bytes = append(rest.bytes, data...)
		if len(rest.bytes) < rest.need {
			return
		}
		data = rest.bytes
	}
	whole, need, tooLong := split(data)
	if whole > 0 {
		if _, err := c.Write(data[:whole]); err != nil {
			return // it has been closed
		}
	}
	if tooLong != nil {
		c.Close()
		return
	}
	if whole == len(data) {
		if rest != nil {
			rest.bytes = rest.bytes[:0]
		}
		return
	}
	if rest == nil {
		rest = new(remainder)
		c.SetSession(rest)
	}
	rest.bytes = append(rest.bytes[:0], data[whole:]...) // also from its own end
	rest.need = need
}
