package coserver_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// faults.md F3: deadlines fall due all the time while a connection is read and written. However many calls time out, no byte is
// lost or comes twice: the counts that they return are true.
func TestStreamUnderADeadlineStorm(t *testing.T) {
	for _, subject := range subjects {
		t.Run(subject.name, func(t *testing.T) {
			p := subject.open(t, "tcp")()
			defer p.stop()
			require.NoError(t, p.peer.SetDeadline(time.Now().Add(patience)))
			data := make([]byte, 8<<20) // more than the kernel takes on its way
			random := rand.NewChaCha8([32]byte{})
			random.Read(data)

			over := make(chan struct{})
			var storm, streams sync.WaitGroup
			storm.Go(func() { move(p.subject, over) })
			// The peer begins when a call has timed out for want of it.
			writeTimedOut, readTimedOut := make(chan struct{}), make(chan struct{})
			streams.Go(func() {
				writeThrough(t, p.subject, data, sync.OnceFunc(func() { close(writeTimedOut) }))
				noError(t, p.subject.(interface{ CloseWrite() error }).CloseWrite())
			})
			streams.Go(func() {
				<-readTimedOut
				for rest := data; len(rest) > 0; { // in pieces, so that the reader waits now and then
					n := min(len(rest), 10_000)
					if _, err := p.peer.Write(rest[:n]); !noError(t, err) {
						return
					}
					rest = rest[n:]
				}
				noError(t, p.peer.(*net.TCPConn).CloseWrite())
			})
			var back bytes.Buffer
			streams.Go(func() {
				<-writeTimedOut
				_, err := io.Copy(&back, io.LimitReader(p.peer, int64(len(data))+1))
				if !noError(t, err) || back.Len() > len(data) {
					p.peer.Close() // or the writer might go on for ever
				}
			})
			var came bytes.Buffer
			p.do(func() { readThrough(t, p.subject, &came, sync.OnceFunc(func() { close(readTimedOut) })) })
			streams.Wait()
			close(over)
			storm.Wait()
			require.True(t, bytes.Equal(data, came.Bytes()), "what was read is not what was sent")
			require.True(t, bytes.Equal(data, back.Bytes()), "what was written is not what came")
		})
	}
}

// move sets deadlines that are over very soon, or are already, until over.
func move(c net.Conn, over <-chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-over:
			return
		default:
		}
		soon := time.Now().Add(time.Duration(i%5-1) * 20 * time.Microsecond)
		c.SetReadDeadline(soon)
		c.SetWriteDeadline(soon)
		time.Sleep(50 * time.Microsecond) // most of the time is for the streams
	}
}

// writeThrough writes data and goes on after every timeout where it stopped.
func writeThrough(t *testing.T, c net.Conn, data []byte, timedOut func()) {
	for len(data) > 0 {
		n, err := c.Write(data)
		data = data[n:]
		if errors.Is(err, os.ErrDeadlineExceeded) {
			timedOut()
			c.SetWriteDeadline(time.Time{})
		} else if !noError(t, err) {
			return
		}
	}
}

func readThrough(t *testing.T, c net.Conn, to *bytes.Buffer, timedOut func()) {
	for buffer := make([]byte, 4096); ; {
		n, err := c.Read(buffer)
		to.Write(buffer[:n])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			timedOut()
			c.SetReadDeadline(time.Time{})
		} else if err == io.EOF || !noError(t, err) {
			return
		}
	}
}
