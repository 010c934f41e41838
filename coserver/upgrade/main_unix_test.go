//go:build unix

package upgrade_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver/upgrade"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

// childMode, in the environment, makes this test binary one of the programs below; childAddr is where it listens, as
// "network address", or "named" and a name.
const (
	childMode = "UPGRADE_TEST_CHILD"
	childAddr = "UPGRADE_TEST_ADDR"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	switch mode := os.Getenv(childMode); mode {
	case "":
		leak.Main(m)
	case "serves":
		serveUntilExit(false)
	case "serves twice": // that is, with a port of its own besides
		serveUntilExit(true)
	case "serves quietly":
		os.Stderr, _ = os.Open(os.DevNull)
		serveUntilExit(false)
	case "supervises":
		os.Setenv(childMode, "serves") // what a worker is
		supervise()
	case "takes packets":
		takePackets()
	case "exits":
		os.Exit(3)
	case "hangs":
		select {}
	case "babbles": // on what it takes for the way to its parent
		count, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
		os.NewFile(uintptr(3+count), "parent").WriteString("hello\n")
		select {}
	case "gives up":
		u := newUpgrader()
		u.Stop()
		os.Exit(4)
	case "dies when ready":
		u := newUpgrader()
		go u.Ready()
		<-time.After(time.Millisecond)
		os.Exit(5)
	case "lists": // what is open besides the standard files, after the variables of the protocol that are set
		list()
	default:
		die(fmt.Errorf("unknown mode %q", mode))
	}
}

func die(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func newUpgrader() *upgrade.Upgrader {
	u, err := upgrade.New(upgrade.Options{})
	if err != nil {
		die(err)
	}
	return u
}

// serveUntilExit is a server of lines, on package net: see answer. It ends as a server should, and is upgraded by SIGHUP.
func serveUntilExit(twice bool) {
	u := newUpgrader()
	network, address, _ := strings.Cut(os.Getenv(childAddr), " ")
	listen := u.Listen
	if network == "named" {
		listen = func(_, name string) (net.Listener, error) { return u.ListenName(name) }
	}
	ln, err := listen(network, address)
	if err != nil {
		die(err)
	}
	if twice {
		second, err := u.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			die(err)
		}
		go serveLines(second)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM)
	if err := u.Ready(); err != nil {
		die(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		serveLines(ln)
	}()
	for {
		select {
		case sig := <-signals:
			if sig == syscall.SIGTERM {
				u.Stop()
			} else if err := u.Upgrade(context.Background()); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		case <-u.Exit():
			ln.Close()
			<-served
			return
		}
	}
}

// supervise is a supervisor of two workers, each serveUntilExit. It says when they are ready.
func supervise() {
	u := newUpgrader()
	if u.IsWorker() {
		die(errors.New("a worker of this program is another one"))
	}
	network, address, _ := strings.Cut(os.Getenv(childAddr), " ")
	ln, err := u.Listen(network, address)
	if err != nil {
		die(err)
	}
	s := &upgrade.Supervisor{Upgrader: u, Workers: 2}
	if err := s.Start(context.Background()); err != nil {
		die(err)
	}
	if err := u.Ready(); err != nil {
		die(err)
	}
	fmt.Println(ln.Addr())
	select {}
}

// serveLines answers the lines of all connections of ln, and returns when ln is closed and the last of them has ended.
func serveLines(ln net.Listener) {
	conns := make(chan struct{})
	count := 0
	for ; ; count++ {
		c, err := ln.Accept()
		if err != nil {
			break
		}
		go func() {
			defer func() { conns <- struct{}{} }()
			defer c.Close()
			lines := bufio.NewScanner(c)
			for lines.Scan() {
				fmt.Fprintln(c, answer(lines.Text()))
			}
			_ = lines.Err() // a connection that fails has ended too
		}()
	}
	for range count {
		<-conns
	}
}

// answer does what a line says.
func answer(line string) string {
	switch line {
	case "pid":
		return strconv.Itoa(os.Getpid())
	case "ppid":
		return strconv.Itoa(os.Getppid())
	case "watchdog":
		return os.Getenv("WATCHDOG_PID")
	case "group":
		return strconv.Itoa(syscall.Getpgrp())
	case "list": // what a child of this process would find
		cmd := exec.Command(program("", "", "").Path)
		cmd.Env = append(os.Environ(), childMode+"=lists")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return err.Error()
		}
		return strings.TrimSpace(string(out))
	case "crash":
		os.Exit(7)
	case "end":
		syscall.Kill(os.Getpid(), syscall.SIGTERM)
	}
	return line
}

func list() {
	var found []string
	for _, name := range upgrade.Variables {
		if _, set := os.LookupEnv(name); set {
			found = append(found, name)
		}
	}
	for fd := 3; fd < 100; fd++ {
		var stat syscall.Stat_t
		if syscall.Fstat(fd, &stat) == nil && stat.Mode&syscall.S_IFMT == syscall.S_IFSOCK {
			found = append(found, strconv.Itoa(fd))
		}
	}
	fmt.Println("found:", strings.Join(found, " "))
}

// program is this test binary in a mode.
func program(mode, network, address string) upgrade.Options {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return upgrade.Options{Path: self, Args: []string{"server"}, // the race detector would have it sleep before it ends
		Env: append(os.Environ(), "GORACE=atexit_sleep_ms=0", childMode+"="+mode, childAddr+"="+network+" "+address)}
}

// begin makes an Upgrader whose next process is this binary in a mode, with a listener that is served until it is closed.
func begin(t *testing.T, mode, network, address string) (*upgrade.Upgrader, net.Listener) {
	t.Helper()
	return beginWith(t, program(mode, network, address), network, address)
}

func beginWith(t *testing.T, options upgrade.Options, network, address string) (*upgrade.Upgrader, net.Listener) {
	t.Helper()
	leak.Check(t)
	t.Cleanup(func() { noChildIsLeft(t) })
	u, err := upgrade.New(options)
	require.NoError(t, err)
	t.Cleanup(u.Stop)
	ln, err := u.Listen(network, address)
	require.NoError(t, err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		serveLines(ln)
	}()
	t.Cleanup(func() {
		ln.Close()
		<-served
	})
	return u, ln
}

// fakeParent starts this binary in a mode, in a role, with ln as its only socket, and says to it what a parent would, as the test
// wants it. It returns the end of the parent.
func fakeParent(t *testing.T, mode, role string, ln net.Listener) (*exec.Cmd, *client) {
	t.Helper()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	ours, theirs := os.NewFile(uintptr(pair[0]), "parent"), os.NewFile(uintptr(pair[1]), "child")
	defer ours.Close()
	defer theirs.Close()
	syscall.CloseOnExec(pair[0])
	syscall.CloseOnExec(pair[1])
	conn, err := net.FileConn(ours)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	socket, err := ln.(*net.TCPListener).File()
	require.NoError(t, err)
	defer socket.Close()
	options := program(mode, "tcp", ln.Addr().String())
	cmd := &exec.Cmd{Path: options.Path, Args: options.Args, ExtraFiles: []*os.File{socket, theirs}, Stderr: os.Stderr,
		Env: append(options.Env, "LISTEN_FDS=1", "STRAND_UPGRADE="+role)}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, &client{conn, bufio.NewReader(conn)}
}

// client is a connection to a server of lines.
type client struct {
	net.Conn
	reader *bufio.Reader
}

func connect(addr net.Addr) (*client, error) {
	c, err := net.DialTimeout(addr.Network(), addr.String(), patience)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(patience))
	return &client{c, bufio.NewReader(c)}, nil
}

func dial(t *testing.T, addr net.Addr) *client {
	t.Helper()
	c, err := connect(addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func (c *client) try(line string) (string, error) {
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return "", err
	}
	answer, err := c.reader.ReadString('\n')
	return strings.TrimSuffix(answer, "\n"), err
}

func (c *client) ask(t *testing.T, line string) string {
	t.Helper()
	answer, err := c.try(line)
	require.NoError(t, err)
	return answer
}

// pid asks for the process behind a new connection.
func pid(t *testing.T, addr net.Addr) int {
	t.Helper()
	c, err := connect(addr)
	require.NoError(t, err)
	defer c.Close()
	id, err := strconv.Atoi(c.ask(t, "pid"))
	require.NoError(t, err)
	return id
}

// end tells the process that serves addr to end, and waits until nobody serves it.
func end(t *testing.T, addr net.Addr) {
	t.Helper()
	c, err := connect(addr)
	require.NoError(t, err)
	c.ask(t, "end")
	require.NoError(t, c.Close())
	eventually(t, func() bool { return isRefused(addr) }, "the server ends")
}

func isRefused(addr net.Addr) bool {
	c, err := net.Dial(addr.Network(), addr.String())
	if err == nil {
		c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrNotExist)
}

// eventually waits until condition holds.
func eventually(t *testing.T, condition func() bool, what string) {
	t.Helper()
	require.Eventually(t, condition, patience, time.Millisecond, what)
}

func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		require.Fail(t, "nothing came")
		panic("unreachable")
	}
}

// requireNoChild wants all children to have been awaited.
func requireNoChild(t *testing.T) {
	t.Helper()
	_, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
	require.ErrorIs(t, err, syscall.ECHILD)
}

// childrenOf lists the children of a process.
func childrenOf(parent int) (children []int) {
	ps := exec.Command("ps", "-A", "-o", "pid=,ppid=")
	out, err := ps.Output()
	if err != nil {
		panic(err)
	}
	for line := range strings.Lines(string(out)) {
		var pid, ppid int
		if _, err := fmt.Sscan(line, &pid, &ppid); err == nil && ppid == parent && pid != ps.Process.Pid {
			children = append(children, pid)
		}
	}
	return children
}

// noChildIsLeft waits until all children have ended, if the test has not failed, and ends them.
func noChildIsLeft(t *testing.T) {
	for deadline := time.Now().Add(patience); hasChild() && !t.Failed(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("a process is left")
		}
	}
	for _, child := range childrenOf(os.Getpid()) {
		syscall.Kill(child, syscall.SIGKILL)
	}
}

func hasChild() bool { return len(childrenOf(os.Getpid())) > 0 }

// gone also counts a process that has ended and that nobody has waited for.
func gone(pid int) bool {
	out, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err != nil || strings.HasPrefix(string(out), "Z")
}

func unixPath(t *testing.T) string {
	dir, err := os.MkdirTemp("", "strand") // t.TempDir is too long for a socket's path
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}
