package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/strand-net/strand/bench/watch"
)

// startLimit is how long a server may take until it listens.
const startLimit = 10 * time.Second

// Child is a server in a process of its own. It ends with this process, however that ends: its standard input is a pipe.
type Child struct {
	Addr string // where it listens

	cmd    *exec.Cmd
	stderr head
}

var listeningLine = regexp.MustCompile(`^listening on (\S+)`)

// StartChild runs a program that prints "listening on ADDR" as its first line and that ends when its standard input
// does, and waits for that line. Stop must be called, also when ctx is done.
func StartChild(ctx context.Context, program string, args ...string) (*Child, error) {
	return StartChildOn(ctx, nil, program, args...)
}

// StartChildOn is StartChild for a program that may use only some of the processors, if there are any in cpus.
func StartChildOn(ctx context.Context, cpus watch.CPUs, program string, args ...string) (*Child, error) {
	c := &Child{cmd: exec.Command(program, args...)}
	c.cmd.Stderr = &c.stderr
	// Never written to: it reads the end when this process is gone. Stop closes it.
	if _, err := c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cpus.Start(c.cmd); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("nothing listens after %v", startLimit))
	defer cancel()
	kill := context.AfterFunc(ctx, func() { c.cmd.Process.Kill() }) // ends the read
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if !kill() {
		c.Stop()
		return nil, context.Cause(ctx)
	}
	match := listeningLine.FindStringSubmatch(line)
	if err == nil && match == nil {
		err = fmt.Errorf("said %q where it should say where it listens", strings.TrimSpace(line))
	}
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("ended before it listened")
		}
		c.Stop()
		return nil, c.explain(err)
	}
	c.Addr = match[1]
	return c, nil
}

// PID is the child's process id.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Stop kills the child and waits for its end.
func (c *Child) Stop() {
	c.cmd.Process.Kill()
	c.cmd.Wait() // the error says that it was killed
}

// explain adds to err what the child, stopped by now, has said on its standard error.
func (c *Child) explain(err error) error {
	if said := c.stderr.String(); said != "" {
		return fmt.Errorf("%w; it said: %s", err, said)
	}
	return err
}

// head keeps the begin of what is written to it: the first lines of a crash are the ones that explain it.
type head struct {
	mu   sync.Mutex
	text []byte
}

// headSize bounds what is kept, in bytes.
const headSize = 4096

func (h *head) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.text = append(h.text, p[:min(len(p), headSize-len(h.text))]...)
	return len(p), nil
}

func (h *head) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.TrimSpace(string(h.text))
}
