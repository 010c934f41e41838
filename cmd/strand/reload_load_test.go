//go:build unix

package main_test

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var manyReloads = flag.Bool("reloads", false, "TestReloadUnderLoad reloads often and under a heavy load: make reload")

// traffic is what clients do while servers come and go. None of them may be refused or cut.
type traffic struct {
	visitors int           // that connect, exchange and leave, over and over
	pause    time.Duration // between the visits of each
	staying  int           // that stay for some time
	thought  time.Duration // that those spend between two messages at most
	reloads  int
	gap      time.Duration // between reloads
}

func chosenTraffic() traffic {
	if *manyReloads {
		return traffic{visitors: 30, pause: 25 * time.Millisecond, staying: 500, thought: 100 * time.Millisecond, reloads: 20, gap: 300 * time.Millisecond}
	}
	return traffic{visitors: 4, pause: time.Millisecond, staying: 20, thought: 20 * time.Millisecond, reloads: 3, gap: 20 * time.Millisecond}
}

// clients is traffic that flows.
type clients struct {
	over     chan struct{}
	all      sync.WaitGroup
	visits   atomic.Int64
	messages atomic.Int64
	began    time.Time
	goodbye  []func() // when all are over
}

func newClients() *clients { return &clients{over: make(chan struct{}), began: time.Now()} }

// every calls do again and again, with a pause between, until the traffic is over or do fails.
func (c *clients) every(t *testing.T, pause time.Duration, do func(seed int) error) {
	c.all.Go(func() {
		ticker := time.NewTicker(pause)
		defer ticker.Stop()
		for seed := rand.IntN(1 << 30); ; seed++ {
			select {
			case <-c.over:
				return
			case <-ticker.C:
			}
			if err := do(seed); err != nil {
				t.Errorf("after %d visits and %d messages: %v", c.visits.Load(), c.messages.Load(), err)
				return
			}
		}
	})
}

// stay keeps a connection for some messages, with pauses, in which it is idle.
func (c *clients) stay(addr string, seed int, thought time.Duration) error {
	conn, err := dialClient(addr, seed)
	if err != nil {
		return err
	}
	defer conn.Close()
	for range 20 + rand.IntN(100) {
		select {
		case <-c.over:
			return nil
		case <-time.After(rand.N(thought)):
		}
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		if err := conn.exchange(64); err != nil {
			return err
		}
		c.messages.Add(1)
	}
	return nil
}

func startClients(t *testing.T, addr string, flow traffic) *clients {
	c := newClients()
	for range flow.visitors {
		c.every(t, flow.pause, func(seed int) error {
			c.visits.Add(1)
			return visit(addr, seed, 2, seed%2 == 0)
		})
	}
	for range flow.staying {
		c.every(t, time.Millisecond, func(seed int) error { return c.stay(addr, seed, flow.thought) })
	}
	return c
}

// startRequests is startClients for HTTP: the requests of each come on one connection for as long as that lasts. A POST that has no
// answer is not repeated.
func startRequests(t *testing.T, addr string, flow traffic) *clients {
	c := newClients()
	for range flow.visitors + flow.staying/10 {
		client := &http.Client{Transport: new(http.Transport), Timeout: patience}
		c.goodbye = append(c.goodbye, client.CloseIdleConnections) // also those that have never been used
		c.every(t, flow.pause, func(seed int) error {
			c.visits.Add(1)
			if seed%10 == 0 {
				client.CloseIdleConnections()
			}
			text := bytes.Repeat([]byte{byte(seed)}, 100)
			response, err := client.Post("http://"+addr+"/echo", "application/octet-stream", bytes.NewReader(text))
			if err != nil {
				return err
			}
			defer response.Body.Close()
			if body, err := io.ReadAll(response.Body); err != nil || !bytes.Equal(text, body) {
				return errors.Join(err, errWrong)
			}
			c.messages.Add(1)
			return nil
		})
	}
	return c
}

func (c *clients) stop() {
	close(c.over)
	c.all.Wait()
	for _, leave := range c.goodbye {
		leave()
	}
}

// While processes take over from each other, no client is refused and no exchange is cut: neither of short connections, at
// whatever moment they come, nor of those that stay.
func TestReloadUnderLoad(t *testing.T) {
	flow := chosenTraffic()
	for _, args := range []string{
		"--engine net", "--engine loop", "--engine coserver --carrier inline", "--engine coserver --carrier channel",
		"--engine net --proto http", "--engine coserver --proto http",
		"--procs 2", "--procs 2 --proto http",
	} {
		t.Run(args, func(t *testing.T) {
			r := serveReloadable(t, append([]string{"--drain", "1h"}, strings.Fields(args)...)...)
			start := startClients
			if strings.Contains(args, "http") {
				start = startRequests
			}
			c := start(t, r.addr, flow)
			for range flow.reloads {
				before := c.visits.Load()
				require.Eventually(t, func() bool { return c.visits.Load() > before+20 || t.Failed() }, patience, time.Millisecond, "clients come")
				<-time.After(flow.gap)
				if strings.Contains(args, "--procs") {
					r.reloadWorkers(t, 2)
				} else {
					r.reload(t, syscall.SIGHUP)
				}
				if t.Failed() {
					break
				}
			}
			before := c.visits.Load()
			require.Eventually(t, func() bool { return c.visits.Load() > before+20 || t.Failed() }, patience, time.Millisecond, "clients come")
			c.stop()
			t.Logf("%d reloads in %v, %d short connections or requests, %d messages", flow.reloads, time.Since(c.began).Round(time.Millisecond),
				c.visits.Load(), c.messages.Load())
			r.end(t)
		})
	}
}
