package coserver

import (
	"io"

	"github.com/strand-net/strand/loop"
)

// spliceTo moves up to limit bytes of what comes to dst, until the end of the input, inside the kernel. It fails with
// errNoShortcut if that cannot be done, perhaps with the rest only, and with an error of the one or the other connection.
func (c *Conn) spliceTo(dst *Conn, limit int64) (int64, error) {
	if c.secure != nil || dst.secure != nil {
		return 0, errNoShortcut
	}
	if err := c.lock(loop.ReadSide); err != nil {
		return 0, c.opError("read", err)
	}
	defer c.unlock(loop.ReadSide)
	if err := dst.lock(loop.WriteSide); err != nil {
		return 0, dst.opError("write", err)
	}
	defer dst.unlock(loop.WriteSide)
	s := splicing{from: c, to: dst}
	defer s.release()
	total, err := s.unread(limit)
	for err == nil && total < limit {
		var n int64
		n, err = s.step(limit - total)
		total += n
	}
	if err == io.EOF {
		err = nil
	}
	return total, err
}

// splicing has the turns of the read side of from and the write side of to.
type splicing struct {
	from, to *Conn
	pipe     *loop.Pipe // lent while there may be something in it
}

func (s *splicing) release() {
	if s.pipe != nil {
		s.pipe.Release()
		s.pipe = nil
	}
}

// unread sends what has been read before, and what has been gathered before that.
func (s *splicing) unread(limit int64) (int64, error) {
	if s.to.output.size > 0 {
		if _, err := s.to.sendGathered(); err != nil {
			return 0, s.to.writeError("write", err)
		}
	}
	in := &s.from.input
	if len(in.unread) == 0 {
		return 0, nil
	}
	n, err := s.to.send(in.unread[:min(int64(len(in.unread)), limit)])
	in.set(in.unread[n:])
	return int64(n), s.to.writeError("write", err)
}

// step waits until something has come and moves it, all that it has taken up to n bytes. With errNoShortcut it has taken nothing.
func (s *splicing) step(n int64) (int64, error) {
	from := s.from
	if err := from.turnToSocket(); err != nil {
		return 0, from.readError(err)
	}
	from.input.giveBack()
	for known := false; ; {
		if err := from.expired(loop.ReadSide); err != nil {
			return 0, from.readError(err)
		}
		if known || from.sock.Take(loop.ReadSide) {
			moved, err := s.take(n)
			if err != loop.ErrNotReady {
				from.input.streak += from.spent(moved, maxPiece)
				from.phases[loop.ReadSide] = phaseNone
				if isNoShortcut(err) {
					return 0, errNoShortcut
				}
				if err != nil {
					return 0, from.readError(err)
				}
				return s.put()
			}
		}
		from.input.streak = 0
		s.release()
		var err error
		if known, err = from.wait(loop.ReadSide); err != nil {
			return 0, from.readError(err)
		}
	}
}

func (s *splicing) take(n int64) (int, error) {
	if s.pipe == nil {
		pipe, err := s.from.run.engine.loops.Pipe()
		if err != nil {
			s.from.sock.Reopen(loop.ReadSide)
			return 0, err
		}
		s.pipe = pipe
	}
	return s.from.sock.SpliceTo(s.pipe, int(min(n, maxPiece)))
}

// put empties the pipe. What it cannot get rid of is lost, as it is with a copy through memory whose write fails.
func (s *splicing) put() (total int64, err error) {
	for s.pipe.Held() > 0 && err == nil {
		var n int
		if err = s.to.expired(loop.WriteSide); err == nil {
			n, err = s.to.sock.SpliceFrom(s.pipe)
			err = s.to.sent(n, maxPiece, err)
		}
		total += int64(n)
	}
	s.to.phases[loop.WriteSide] = phaseNone
	return total, s.to.writeError("write", err)
}
