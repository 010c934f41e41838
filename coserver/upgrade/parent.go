package upgrade

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// What parent and child say to each other over the socket between them, a line each. The child's id comes first: the
// parent cannot put it into LISTEN_PID, for it knows it only when the child has been started.
const (
	linePID    = "pid %d"         // to the child: whom all this is for
	lineReady  = "ready"          // from the child
	lineGo     = "go"             // to the child: I have seen that you are ready
	lineRetire = "retire"         // to a worker: another one has taken your place
	lineLimit  = 10 * time.Second // how long a parent may take to say whom it has started
)

// parent is the process that has started this one, as this one sees it.
type parent struct {
	conn  net.Conn
	lines *bufio.Reader
	going chan struct{} // closed when the parent has said so
	gone  chan struct{} // closed when nothing more will come
}

// findParent takes the socket fd to the parent. It returns nil if what was passed is for another process: for the parent of
// this one, if that knew nothing of the protocol. Then the socket is as it was.
func findParent(fd int, r role) (*parent, error) {
	conn := openControl(fd)
	if conn == nil {
		return nil, nil
	}
	p := &parent{conn: conn, lines: bufio.NewReader(conn), going: make(chan struct{}), gone: make(chan struct{})}
	conn.SetReadDeadline(time.Now().Add(lineLimit))
	var first [64]byte
	n, err := peek(conn, first[:]) // and leave it to the process that it is for
	conn.SetReadDeadline(time.Time{})
	mine := fmt.Sprintf(linePID+"\n", os.Getpid())
	if err == nil && strings.HasPrefix(string(first[:n]), mine) {
		if _, err = p.lines.Discard(len(mine)); err == nil {
			closeFD(fd)
			return p, nil
		}
	}
	conn.Close()
	switch {
	case err == io.EOF && r == worker:
		return nil, ErrOrphaned
	case err == io.EOF:
		return nil, fmt.Errorf("upgrade: %s is %q, but the parent is gone, and has not said whom it has started", variableParent, string(r))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fmt.Errorf("upgrade: %s is %q, but the parent has not said in %v whom it has started", variableParent, string(r), lineLimit)
	}
	return nil, nil
}

// listen does what the parent says, until nothing more will come. For a worker that is the end.
func (p *parent) listen(u *Upgrader) {
	defer close(p.gone)
	defer p.close()
	if p.next() == lineGo {
		close(p.going)
		if u.role == successor {
			return
		}
		if p.next() == lineRetire {
			u.end(ErrReplaced)
			return
		}
	}
	if u.role == worker {
		u.end(ErrOrphaned)
	}
}

// next returns what the parent says, or nothing if it is gone.
func (p *parent) next() string {
	line, err := p.lines.ReadString('\n')
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(line, "\n")
}

// ready tells the parent, and reports whether it has answered; otherwise it is gone.
func (p *parent) ready() bool {
	if _, err := fmt.Fprintln(p.conn, lineReady); err != nil {
		return false
	}
	select {
	case <-p.going:
		return true
	case <-p.gone:
		return false
	}
}

func (p *parent) close() { p.conn.Close() }
