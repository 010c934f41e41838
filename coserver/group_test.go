package coserver_test

import (
	"errors"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// A handler asks several connections at the same time, and has all answers when Wait returns.
func TestGroup(t *testing.T) {
	upstream := start(t, &coserver.Server{Handler: echoNext}, "tcp")
	within(t, func(t *testing.T) {
		var group coserver.Group
		var answers [5]string
		for i := range answers {
			group.Go(func() error {
				c, err := coserver.Dial("tcp", upstream.String())
				if err != nil {
					return err
				}
				defer c.Close()
				question := strings.Repeat("?", i+1)
				if _, err := io.WriteString(c, question); err != nil {
					return err
				}
				answer := make([]byte, len(question))
				_, err = io.ReadFull(c, answer)
				answers[i] = string(answer)
				return err
			})
		}
		blocked := false
		group.Offload(func() error {
			time.Sleep(time.Millisecond) // the blocking itself
			blocked = true
			return errTest
		})
		require.ErrorIs(t, group.Wait(), errTest)
		require.True(t, blocked)
		for i, answer := range answers {
			require.Equal(t, strings.Repeat("?", i+1), answer)
		}
		require.NoError(t, group.Wait(), "nothing is left")
	})
}

// However one of the functions ends, Wait waits for the others, and it is the caller's end.
func TestGroupFalls(t *testing.T) {
	within(t, func(t *testing.T) {
		var others atomic.Int32
		var group coserver.Group
		group.Go(func() error { panic(errTest) })
		group.Offload(func() error { others.Add(1); return nil })
		group.Go(func() error { others.Add(1); return nil })
		require.PanicsWithError(t, errTest.Error(), func() { _ = group.Wait() })
		require.EqualValues(t, 2, others.Load())
	})
	reported := make(chan error, 1)
	s := &coserver.Server{OnError: func(_ *coserver.Conn, err error) { reported <- err }, Handler: func(*coserver.Conn) error {
		var group coserver.Group
		group.Go(func() error { runtime.Goexit(); return nil })
		return errors.Join(group.Wait(), errTest)
	}}
	dial(t, start(t, s, "tcp"))
	require.ErrorIs(t, receive(t, reported), coserver.ErrHandlerExited)
}

// A handler that finds many messages in one piece of input gives way after some of them.
func TestManySmallMessagesGiveWay(t *testing.T) {
	engine := newEngine(t, coserver.EngineConfig{Loops: 1, TakeOverAfter: -1})
	var handled, seen atomic.Int64
	first, ready := make(chan struct{}), make(chan struct{})
	greedy := start(t, &coserver.Server{Engine: engine, Carrier: coserver.Inline, Handler: func(c *coserver.Conn) error {
		for {
			if _, err := c.ReadSlice('\n'); err != nil {
				return err
			}
			if handled.Add(1) == 1 {
				close(first)
				<-ready // the other's message is there as well
			}
		}
	}}, "tcp")
	other := start(t, &coserver.Server{Engine: engine, Carrier: coserver.Inline, Handler: func(c *coserver.Conn) error {
		for {
			data, err := c.Next()
			if err != nil {
				return err
			}
			seen.Store(handled.Load())
			if _, err := c.Write(data); err != nil {
				return err
			}
		}
	}}, "tcp")
	b := dial(t, other)
	exchange(t, b, "its handler waits now, or soon")
	a := dial(t, greedy)
	const messages = 50_000
	_, err := io.WriteString(a, strings.Repeat("\n", messages))
	require.NoError(t, err)
	receive(t, first)
	_, err = io.WriteString(b, "ping")
	require.NoError(t, err)
	close(ready)
	_, err = io.ReadFull(b, make([]byte, 4))
	require.NoError(t, err)
	require.Less(t, seen.Load(), int64(3000), "of %d messages", messages)
	eventually(t, func() bool { return handled.Load() == messages }, "all are handled")
}
