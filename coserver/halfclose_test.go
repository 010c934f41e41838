package coserver_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

var _ net.Conn = (*coserver.Conn)(nil)

func TestCloseWrite(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		results, lines := make(chan error, 1), make(chan string, 1)
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			if _, err := io.WriteString(c, "all there is"); err != nil {
				return err
			}
			if err := c.CloseWrite(); err != nil {
				return err
			}
			_, err := io.WriteString(c, "more")
			results <- err
			line, err := c.ReadSlice('\n')
			lines <- string(line)
			return err
		}}, "tcp")
		c := dial(t, addr)
		all, err := io.ReadAll(c)
		require.NoError(t, err)
		require.Equal(t, "all there is", string(all))
		require.ErrorIs(t, receive(t, results), syscall.EPIPE)
		_, err = io.WriteString(c, "late question\n")
		require.NoError(t, err)
		require.Equal(t, "late question\n", receive(t, lines))
	})
}

func TestCloseReadWakesReader(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		conns := make(chan *coserver.Conn, 1)
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			conns <- c
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Error(err)
			}
			_, err := io.WriteString(c, "still writing")
			return err
		}}, "tcp")
		client := dial(t, addr)
		require.NoError(t, receive(t, conns).CloseRead())
		all, err := io.ReadAll(client)
		require.NoError(t, err)
		require.Equal(t, "still writing", string(all))
	})
}

// faults.md X4: an answer is not destroyed by a reset because the peer was still sending.
func TestAnswerSurvivesUnreadInput(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		answer := strings.Repeat("answer ", 1000)
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			if _, err := c.Read(make([]byte, 10)); err != nil {
				return err
			}
			_, err := io.WriteString(c, answer)
			return err
		}}, "tcp")
		for range 50 {
			c := dial(t, addr)
			_, err := io.WriteString(c, strings.Repeat("question ", 10_000))
			require.NoError(t, err)
			got, err := io.ReadAll(c)
			require.NoError(t, err)
			require.Equal(t, answer, string(got))
			c.Close()
		}
	})
}

// A peer that never stops sending is not listened to for long after Close.
func TestLingerEnds(t *testing.T) {
	addr := start(t, &coserver.Server{Handler: func(c *coserver.Conn) error {
		_, err := c.Read(make([]byte, 10))
		return err
	}}, "tcp")
	c := dial(t, addr)
	block := make([]byte, 64<<10)
	for {
		if _, err := c.Write(block); err != nil {
			require.False(t, errors.Is(err, os.ErrDeadlineExceeded), "the server still reads")
			return
		}
	}
}

func TestPeekDiscardReadFull(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		done := make(chan struct{}, 1)
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			defer func() { done <- struct{}{} }()
			check := func(got string, err, wantErr error, want string) {
				if got != want || !errors.Is(err, wantErr) {
					t.Errorf("got %q and %v, want %q and %v", got, err, want, wantErr)
				}
			}
			head, err := c.Peek(4)
			check(string(head), err, nil, "head")
			head, err = c.Peek(8)
			check(string(head), err, nil, "headbody")
			_, err = c.Peek(100_000)
			check("", err, bufio.ErrBufferFull, "")
			n, err := c.Discard(4)
			check("", err, nil, "")
			if n != 4 {
				t.Errorf("discarded %d", n)
			}
			body := make([]byte, 4)
			n, err = c.ReadFull(body)
			check(string(body[:n]), err, nil, "body")
			c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			n, err = c.ReadFull(body)
			check(string(body[:n]), err, os.ErrDeadlineExceeded, "ta")
			c.SetReadDeadline(time.Time{})
			io.WriteString(c, "go on")
			tail, err := c.Peek(10)
			check(string(tail), err, io.EOF, "il")
			n, err = c.ReadFull(body)
			check(string(body[:n]), err, io.ErrUnexpectedEOF, "il")
			n, err = c.ReadFull(body)
			check(string(body[:n]), err, io.EOF, "")
			n, err = c.Discard(1)
			check(string(body[:n]), err, io.EOF, "")
			return nil
		}}, "tcp")
		c := dial(t, addr)
		_, err := io.WriteString(c, "headbo")
		require.NoError(t, err)
		_, err = io.WriteString(c, "dyta")
		require.NoError(t, err)
		_, err = io.ReadFull(c, make([]byte, 5))
		require.NoError(t, err)
		_, err = io.WriteString(c, "il")
		require.NoError(t, err)
		require.NoError(t, c.(*net.TCPConn).CloseWrite())
		receive(t, done)
	})
}

// io.Copy from a connection to itself is an echo.
func TestCopy(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			_, err := io.Copy(c, c)
			return err
		}}, "tcp")
		var clients sync.WaitGroup
		for i := range 4 {
			clients.Go(func() { streamThrough(t, addr, uint64(i), 300_000) })
		}
		clients.Wait()
	})
}
