//go:build unix

package upgrade_test

import (
	"context"
	"errors"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/coserver/upgrade"
)

// A server that SIGHUP replaces by the program that is at its path by then, and SIGTERM ends.
func Example() {
	u, err := upgrade.New(upgrade.Options{})
	if err != nil {
		log.Fatal(err)
	}
	inherited, err := u.Listen("tcp", ":7000")
	if err != nil {
		log.Fatal(err)
	}
	server := &coserver.Server{Handler: func(c *coserver.Conn) error {
		_, err := c.WriteTo(c)
		return err
	}}
	ln, err := server.Adopt(inherited)
	if err != nil {
		log.Fatal(err)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM)
	if err := u.Ready(); err != nil {
		log.Fatal(err)
	}
	go server.Serve(ln)
	for u.Err() == nil {
		select {
		case sig := <-signals:
			if sig == syscall.SIGTERM {
				u.Stop()
				continue
			}
			go func() { // so that SIGTERM need not wait for it
				if err := u.Upgrade(context.Background()); err != nil {
					log.Print(err) // and go on
				}
			}()
		case <-u.Exit():
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if errors.Is(u.Err(), upgrade.ErrReplaced) {
		server.Retire(ctx)
	}
	server.Shutdown(ctx)
}

// The same with net/http: once the process has been replaced, each answer is the last of its connection.
func ExampleUpgrader_http() {
	u, err := upgrade.New(upgrade.Options{})
	if err != nil {
		log.Fatal(err)
	}
	ln, err := u.Listen("tcp", ":8080")
	if err != nil {
		log.Fatal(err)
	}
	var replaced atomic.Bool
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if replaced.Load() {
			w.Header().Set("Connection", "close")
		}
		http.DefaultServeMux.ServeHTTP(w, r)
	})}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	if err := u.Ready(); err != nil {
		log.Fatal(err)
	}
	go server.Serve(ln)
	for u.Err() == nil {
		<-hangups
		if err := u.Upgrade(context.Background()); err != nil {
			log.Print(err)
		}
	}
	replaced.Store(true)
	ln.Close()
	time.Sleep(5 * time.Second) // connections that are in use come to their last answer
	server.Shutdown(context.Background())
}

// Four processes on one socket, which SIGHUP replaces one after the other.
func ExampleSupervisor() {
	u, err := upgrade.New(upgrade.Options{})
	if err != nil {
		log.Fatal(err)
	}
	inherited, err := u.Listen("tcp", ":7000")
	if err != nil {
		log.Fatal(err)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM)
	if !u.IsWorker() {
		s := &upgrade.Supervisor{Upgrader: u, Workers: 4}
		if err := s.Start(context.Background()); err != nil {
			log.Fatal(err)
		}
		if err := u.Ready(); err != nil {
			log.Fatal(err)
		}
		for sig := range signals {
			if sig == syscall.SIGTERM {
				break
			}
			go func() {
				if err := s.Reload(context.Background()); err != nil {
					log.Print(err) // those that are left go on
				}
			}()
		}
		u.Stop()
		s.Stop(context.Background()) // which sends SIGTERM to the workers, and waits for them
		return
	}
	server := &coserver.Server{Handler: func(c *coserver.Conn) error {
		_, err := c.WriteTo(c)
		return err
	}}
	ln, err := server.Adopt(inherited)
	if err != nil {
		log.Fatal(err)
	}
	if err := u.Ready(); err != nil {
		log.Fatal(err)
	}
	go server.Serve(ln)
	for u.Err() == nil {
		select {
		case sig := <-signals:
			if sig == syscall.SIGTERM {
				u.Stop()
			}
		case <-u.Exit(): // it has been replaced, or its supervisor is gone
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if errors.Is(u.Err(), upgrade.ErrReplaced) {
		server.Retire(ctx)
	}
	server.Shutdown(ctx)
}
