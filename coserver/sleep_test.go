package coserver_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// A sleep is never short, and holds up nobody: no loop is taken over for it.
func TestSleep(t *testing.T) {
	engine := oneLoop(t)
	addr := start(t, &coserver.Server{Engine: engine, Carrier: coserver.Inline, Handler: func(c *coserver.Conn) error {
		for {
			data, err := c.Next()
			if err != nil {
				return err
			}
			began := time.Now()
			if err := coserver.Sleep(context.Background(), 30*time.Millisecond); err != nil {
				return err
			}
			if time.Since(began) < 30*time.Millisecond {
				return errTest
			}
			if _, err := c.Write(data); err != nil {
				return err
			}
		}
	}}, "tcp")
	began := time.Now()
	var group sync.WaitGroup
	for range 100 {
		c := dial(t, addr)
		group.Go(func() {
			_, err := io.WriteString(c, "sleepy")
			noError(t, err)
			_, err = io.ReadFull(c, make([]byte, 6))
			noError(t, err)
		})
	}
	group.Wait()
	require.Less(t, time.Since(began), 100*30*time.Millisecond, "they sleep at the same time")
}

func TestSleepIsCancelled(t *testing.T) {
	within(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		timer := time.AfterFunc(10*time.Millisecond, cancel)
		defer timer.Stop()
		require.ErrorIs(t, coserver.Sleep(ctx, time.Hour), context.Canceled)
		require.ErrorIs(t, coserver.Sleep(ctx, time.Hour), context.Canceled, "before it begins")
		require.NoError(t, coserver.Sleep(context.Background(), -1))
	})
}

// Work that blocks is done elsewhere, in the order of the handler; what it panics with is the handler's.
func TestOffload(t *testing.T) {
	within(t, func(t *testing.T) {
		done := false
		require.NoError(t, coserver.Offload(func() {
			time.Sleep(5 * time.Millisecond) // the blocking itself
			done = true
		}))
		require.True(t, done)
		require.PanicsWithError(t, errTest.Error(), func() { _ = coserver.Offload(func() { panic(errTest) }) })
	})
	engine := oneLoop(t)
	reported := make(chan error, 1)
	s := &coserver.Server{Engine: engine, Carrier: coserver.Inline, OnError: func(_ *coserver.Conn, err error) { reported <- err },
		Handler: func(*coserver.Conn) error { return errors.Join(coserver.Offload(runtime.Goexit), errTest) }}
	dial(t, start(t, s, "tcp"))
	require.ErrorIs(t, receive(t, reported), coserver.ErrHandlerExited)
}
