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
	ln, err := u.Listen("tcp", ":7000")
	if err != nil {
		log.Fatal(err)
	}
	server := &coserver.Server{Handler: func(c *coserver.Conn) error {
		_, err := c.WriteTo(c)
		return err
	}}
	go server.Serve(ln)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM)
	if err := u.Ready(); err != nil {
		log.Fatal(err)
	}
	for u.Err() == nil {
		select {
		case sig := <-signals:
			if sig == syscall.SIGTERM {
				u.Stop()
			} else if err := u.Upgrade(context.Background()); err != nil {
				log.Print(err) // and go on
			}
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
	go server.Serve(ln)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	if err := u.Ready(); err != nil {
		log.Fatal(err)
	}
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

// Four processes on one socket.
func ExampleSupervisor() {
	u, err := upgrade.New(upgrade.Options{})
	if err != nil {
		log.Fatal(err)
	}
	ln, err := u.Listen("tcp", ":7000")
	if err != nil {
		log.Fatal(err)
	}
	if u.IsWorker() {
		server := &coserver.Server{Handler: func(c *coserver.Conn) error {
			_, err := c.WriteTo(c)
			return err
		}}
		go server.Serve(ln)
		if err := u.Ready(); err != nil {
			log.Fatal(err)
		}
		<-u.Exit() // replaced, or the supervisor is gone; SIGTERM ends the process at once
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if errors.Is(u.Err(), upgrade.ErrReplaced) {
			server.Retire(ctx)
		}
		server.Shutdown(ctx)
		return
	}
	s := &upgrade.Supervisor{Upgrader: u, Workers: 4}
	if err := s.Start(context.Background()); err != nil {
		log.Fatal(err)
	}
	if err := u.Ready(); err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	<-ctx.Done()
	u.Stop()
	s.Stop(context.Background())
}
