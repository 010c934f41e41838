package upgrade

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
)

// child is a process that this one has started.
type child struct {
	cmd     *exec.Cmd
	control net.Conn
	exited  chan struct{} // closed when it has been awaited
}

// start starts a process with all the sockets, and waits until it is ready. If it does not become so it is killed and awaited.
func (u *Upgrader) start(ctx context.Context, r role) (*child, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, u.options.ReadyLimit,
		fmt.Errorf("it was not ready after %v", u.options.ReadyLimit))
	defer cancel()
	c, err := u.exec(r)
	if err != nil {
		return nil, fmt.Errorf("upgrade: cannot start the new process: %w", err)
	}
	if err := c.awaitReady(ctx); err != nil {
		c.kill()
		return nil, err
	}
	return c, nil
}

// exec starts a process with all the sockets.
func (u *Upgrader) exec(r role) (*child, error) {
	files, names, err := u.passOn(r)
	defer func() {
		for _, file := range files {
			file.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	ours, theirs, err := newControl()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	environment := u.options.Env
	if environment == nil {
		environment = os.Environ()
	}
	c := &child{control: ours, exited: make(chan struct{})}
	c.cmd = &exec.Cmd{
		Path: u.options.Path, Args: u.options.Args,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		ExtraFiles: append(files, theirs),
		Env: append(without(environment),
			fmt.Sprintf("%s=%d", variableFDs, len(files)),
			variableNames+"="+strings.Join(names, ":"),
			variableParent+"="+string(r)),
	}
	if r == worker {
		c.cmd.SysProcAttr = ownGroup()
	}
	if err := c.cmd.Start(); err != nil {
		ours.Close()
		return nil, err
	}
	go func() {
		c.cmd.Wait() // the state is what counts
		close(c.exited)
	}()
	fmt.Fprintf(ours, linePID+"\n", c.pid()) // if it has ended already, awaitReady says so
	return c, nil
}

// passOn duplicates all the sockets, and labels them. To a successor they are offered; a worker gets no file with them.
func (u *Upgrader) passOn(r role) (files []*os.File, labels []string, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, s := range u.sockets {
		file, err := duplicate(s.conn)
		if err != nil {
			return files, nil, fmt.Errorf("%s %s: %w", s.network, s.address, err)
		}
		files = append(files, file)
		l := s.label
		if r == worker {
			l.file = ""
		}
		labels = append(labels, l.String())
	}
	if r == successor {
		u.offered = slices.Clone(u.sockets)
	}
	return files, labels, nil
}

// awaitReady waits until c is ready. If it is not, the error says why.
func (c *child) awaitReady(ctx context.Context) error {
	said := make(chan error, 1)
	go func() { said <- c.readReady() }()
	for {
		select {
		case err := <-said:
			if err != io.EOF {
				return err
			}
			said = nil // it has ended, or is about to
		case <-c.exited:
			return c.ended()
		case <-ctx.Done():
			return givenUp(context.Cause(ctx))
		}
	}
}

func (c *child) readReady() error {
	line, err := bufio.NewReader(c.control).ReadString('\n')
	if errors.Is(err, syscall.ECONNRESET) { // it has ended without having read what it was told
		return io.EOF
	}
	if err == nil && line != lineReady+"\n" {
		err = givenUp(fmt.Errorf("it said %q", line))
	}
	return err
}

func givenUp(reason error) error {
	return fmt.Errorf("upgrade: the new process is given up: %w", reason)
}

// ended says how c has ended before it was ready.
func (c *child) ended() error {
	return fmt.Errorf("upgrade: the new process has ended before it was ready: %w", &exec.ExitError{ProcessState: c.cmd.ProcessState})
}

// goOn answers c that it is known to be ready. It fails if c has ended.
func (c *child) goOn() error {
	if _, err := fmt.Fprintln(c.control, lineGo); err != nil {
		c.kill()
		return c.ended()
	}
	return nil
}

// retire tells a worker that another has taken its place.
func (c *child) retire() error {
	_, err := fmt.Fprintln(c.control, lineRetire)
	return err
}

// release lets c go its own way.
func (c *child) release() { c.control.Close() }

// kill ends c at once, and waits until it is gone.
func (c *child) kill() {
	_ = c.cmd.Process.Kill() // it may have ended
	<-c.exited
	c.control.Close()
}

func (c *child) pid() int { return c.cmd.Process.Pid }
