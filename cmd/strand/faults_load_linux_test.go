package main_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// whole is a load that must come through without one wrong byte: small messages and such as no single call moves.
func whole(t *testing.T, s *serving) {
	t.Helper()
	var clients sync.WaitGroup
	for i := range 10 {
		clients.Go(func() {
			c, err := dialClient(s.addr, i)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for j := range 30 {
				size := 64
				if j%10 == 9 {
					size = 100_000
				}
				if err := c.exchange(size); err != nil {
					t.Errorf("exchange %d: %v", j+1, err)
					return
				}
			}
		})
	}
	clients.Wait()
}

// storm is many short connections, whose descriptors' numbers are used again and again, beside a few that stay: nobody gets
// what was another's.
func storm(t *testing.T, s *serving) {
	t.Helper()
	over := make(chan struct{})
	var staying, visitors sync.WaitGroup
	for i := range 4 {
		staying.Go(func() {
			if err := echoUntil(s.addr, i, over); err != nil {
				t.Errorf("a connection that stays: %v", err)
			}
		})
		visitors.Go(func() {
			for j := range 20 {
				if err := visit(s.addr, 1000*(i+1)+j, 2, j%2 == 0); err != nil {
					t.Errorf("a short connection: %v", err)
				}
			}
		})
	}
	visitors.Wait()
	close(over)
	staying.Wait()
}

func echoUntil(addr string, seed int, over <-chan struct{}) error {
	c, err := dialClient(addr, seed)
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		select {
		case <-over:
			return nil
		default:
		}
		if err := c.exchange(2000); err != nil {
			return err
		}
	}
}

// victims is a load in which calls fail for good: some connections end, none gets a wrong byte or is forgotten, and most live.
func victims(t *testing.T, s *serving) {
	t.Helper()
	const visitors, visits = 4, 15
	var ended atomic.Int32
	var all sync.WaitGroup
	for i := range visitors {
		all.Go(func() {
			for j := range visits {
				err := visit(s.addr, 1000*i+j, 10, false)
				switch {
				case errors.Is(err, errWrong):
					t.Error(err)
				case errors.Is(err, os.ErrDeadlineExceeded):
					t.Errorf("a connection neither ends nor goes on: %v", err)
				case err != nil:
					ended.Add(1)
				}
			}
		})
	}
	all.Wait()
	require.Positive(t, ended.Load(), "no connection has ended")
	require.Less(t, ended.Load(), int32(visitors*visits/2))
}

// slowReader gets a megabyte, which has nowhere to be but the server, to the last byte.
func slowReader(t *testing.T, s *serving) {
	t.Helper()
	c, err := dialClient(s.addr, 1)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetReadBuffer(64<<10))
	data := c.bytes(1 << 20)
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(data)
		if err == nil {
			err = c.CloseWrite()
		}
		sent <- err
	}()
	var back bytes.Buffer
	for piece := make([]byte, 1000); ; {
		n, err := c.Read(piece)
		back.Write(piece[:n])
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
	}
	require.NoError(t, <-sent)
	require.True(t, bytes.Equal(data, back.Bytes()), "%d bytes came back of %d, or not the same", back.Len(), len(data))
}

// lateReply is an answer that is sent when the end of the question has long come.
func lateReply(t *testing.T, s *serving) {
	t.Helper()
	for i := range 3 {
		c, err := dialClient(s.addr, i)
		require.NoError(t, err)
		question := c.bytes(3000)
		_, err = c.Write(question)
		require.NoError(t, err)
		require.NoError(t, c.CloseWrite())
		answer, err := io.ReadAll(c)
		require.NoError(t, err)
		require.True(t, bytes.Equal(question, answer))
		require.NoError(t, c.Close())
	}
}
