package main

import (
	"errors"
	"log"
	"net"
	"os"

	"github.com/panjf2000/gnet/v2"
)

// serveGnet has one event loop for each processor (WithMulticore), as the library's examples have, and its defaults for the rest: level-triggered
// events, of which its documentation says not to change them, read and write buffers of 64 KiB, TCP_NODELAY.
func serveGnet(addr string, split splitter, listening func(net.Addr)) error {
	handler := &gnetHandler{split: split, listening: listening}
	err := gnet.Run(handler, "tcp://"+addr, gnet.WithMulticore(true), gnet.WithLogger(gnetLogger{}))
	if handler.err != nil {
		return handler.err
	}
	if err == nil {
		err = errors.New("it has ended")
	}
	return err
}

type gnetHandler struct {
	gnet.BuiltinEventEngine
	split     splitter
	listening func(net.Addr)
	err       error
}

func (h *gnetHandler) OnBoot(engine gnet.Engine) gnet.Action {
	addr, err := gnetAddr(engine)
	if err != nil {
		h.err = err
		return gnet.Shutdown
	}
	h.listening(addr)
	return gnet.None
}

// gnetAddr asks the listening socket, which the library does not tell about, for its port.
func gnetAddr(engine gnet.Engine) (net.Addr, error) {
	fd, err := engine.Dup()
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "listener")
	defer file.Close()
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	return listener.Addr(), nil
}

// OnTraffic works on what lies in the library's buffer, without a copy of its own.
func (h *gnetHandler) OnTraffic(c gnet.Conn) gnet.Action {
	if need, waits := c.Context().(int); waits && c.InboundBuffered() < need {
		return gnet.None
	}
	buf, err := c.Peek(-1)
	if err != nil {
		return gnet.Close
	}
	whole, need, tooLong := h.split(buf)
	if whole > 0 {
		if _, err := c.Write(buf[:whole]); err != nil {
			return gnet.Close
		}
		if _, err := c.Discard(whole); err != nil {
			return gnet.Close
		}
	}
	if tooLong != nil {
		return gnet.Close
	}
	if need > 1 || c.Context() != nil { // a number in an interface may be an allocation
		c.SetContext(need)
	}
	return gnet.None
}

// gnetLogger says what is wrong. The library's own logger writes to standard output, which is for the line that says where this listens.
type gnetLogger struct{}

func (gnetLogger) Debugf(string, ...any) {}
func (gnetLogger) Infof(string, ...any)  {}

func (gnetLogger) Warnf(format string, args ...any)  { log.Printf(format, args...) }
func (gnetLogger) Errorf(format string, args ...any) { log.Printf(format, args...) }
func (gnetLogger) Fatalf(format string, args ...any) { log.Fatalf(format, args...) }
