//go:build unix

package main_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"net"
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
	least    float64       // visits a second, or it has been no heavy load
}

func chosenTraffic() traffic {
	if *manyReloads {
		return traffic{visitors: 30, pause: 25 * time.Millisecond, staying: 500, thought: 100 * time.Millisecond, reloads: 20, gap: 300 * time.Millisecond,
			least: 1000}
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

// startSecretly is startClients for TLS, with fewer of them: a handshake costs as much as many visits.
func startSecretly(t *testing.T, addr string, flow traffic, config *tls.Config) *clients {
	const costly = 10
	c := newClients()
	exchanges := func(count int, thought time.Duration) error {
		dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: patience}, Config: config}
		conn, err := dialer.Dial("tcp", addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		for range count {
			if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
				return err
			}
			text, back := make([]byte, 100), make([]byte, 100)
			for i := range text {
				text[i] = byte(rand.IntN(256))
			}
			if _, err := conn.Write(text); err != nil {
				return err
			}
			if _, err := io.ReadFull(conn, back); err != nil || !bytes.Equal(text, back) {
				return errors.Join(err, errWrong)
			}
			c.messages.Add(1)
			select {
			case <-c.over:
				return nil
			case <-time.After(rand.N(thought)):
			}
		}
		return nil
	}
	for range max(1, flow.visitors/costly) {
		c.every(t, flow.pause, func(int) error {
			c.visits.Add(1)
			return exchanges(2, time.Millisecond)
		})
	}
	for range flow.staying / costly {
		c.every(t, time.Millisecond, func(int) error { return exchanges(20, flow.thought) })
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
	certificate, config := certificate(t)
	for _, args := range []string{
		"--engine net", "--engine loop", "--engine coserver --carrier inline", "--engine coserver --carrier channel",
		"--engine net --proto http", "--engine coserver --proto http", "--tls",
		"--procs 2", "--procs 2 --proto http",
	} {
		t.Run(args, func(t *testing.T) {
			flow := chosenTraffic()
			start := func(addr string) *clients { return startClients(t, addr, flow) }
			flags := strings.Fields(args)
			switch {
			case strings.Contains(args, "http"):
				start = func(addr string) *clients { return startRequests(t, addr, flow) }
			case args == "--tls":
				flags, flow.least = certificate, 0
				start = func(addr string) *clients { return startSecretly(t, addr, flow, config) }
			}
			r := serveReloadable(t, append([]string{"--drain", "1h"}, flags...)...)
			c := start(r.addr)
			c.someCome(t)
			for range flow.reloads {
				<-time.After(flow.gap)
				if strings.Contains(args, "--procs") {
					r.reloadWorkers(t, 2)
				} else {
					r.reload(t, syscall.SIGHUP)
				}
				c.someCome(t)
				if t.Failed() {
					break
				}
			}
			took := time.Since(c.began)
			rate := float64(c.visits.Load()) / took.Seconds()
			c.stop()
			t.Logf("%d reloads in %v, %d short connections or requests (%.0f a second), %d messages", flow.reloads, took.Round(time.Millisecond),
				c.visits.Load(), rate, c.messages.Load())
			if rate < flow.least {
				t.Errorf("the load was not what it is to be, %.0f a second: the machine is too busy", flow.least)
			}
			r.end(t)
		})
	}
}

// someCome waits until some clients have come.
func (c *clients) someCome(t *testing.T) {
	before := c.visits.Load()
	require.Eventually(t, func() bool { return c.visits.Load() > before+20 || t.Failed() }, patience, time.Millisecond, "clients come")
}
