package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/strand-net/strand/bench/load"
	"github.com/strand-net/strand/bench/result"
)

// shardValue is I/N as a flag.
type shardValue result.Shard

func (s *shardValue) UnmarshalText(text []byte) error {
	index, of, ok := strings.Cut(string(text), "/")
	var err1, err2 error
	s.Index, err1 = strconv.Atoi(index)
	s.Of, err2 = strconv.Atoi(of)
	if !ok || err1 != nil || err2 != nil || s.Index < 1 || s.Index > s.Of {
		return fmt.Errorf("%q is no shard such as 1/4", text)
	}
	return nil
}

// startValue is a time as a flag.
type startValue struct{ time.Time }

func (s *startValue) UnmarshalText(text []byte) (err error) {
	if seconds, err := strconv.ParseFloat(string(text), 64); err == nil {
		s.Time = time.Unix(0, int64(seconds*1e9))
		return nil
	}
	s.Time, err = time.Parse(time.RFC3339Nano, string(text))
	return err
}

// shardOptions completes o for a run of shards, or for one of them.
func (c *loadCommand) shardOptions(o *load.Options) error {
	one := c.Shard.Of > 0
	switch {
	case c.Shards < 0:
		return fmt.Errorf("shards: %d is negative", c.Shards)
	case c.Shards > 1 && one:
		return errors.New("shards: this is one shard of several")
	case c.Pipe:
		return nil
	case one && c.Shard.Of > 1 && (c.RunID == "" || c.StartAt.IsZero()):
		return errors.New("shard: it needs --run-id and --start-at, which all shards have in common")
	case !c.StartAt.IsZero():
		o.Begin = func(context.Context) (time.Time, error) { return c.StartAt.Time, nil }
	}
	if c.Shards > 1 { // to be checked with
		o.Shard = result.Shard{Index: 1, Of: c.Shards}
	}
	return nil
}

// What a shard and whoever has started it say to each other: that its connections are made; then, when traffic begins, in ns since 1970; that a
// window, or the drain, begins; and perhaps when traffic is to end before its time.
const (
	shardReady = "ready"
	shardPhase = "phase"
)

// untilTold is how long it takes until all shards know something, with room: when traffic begins, and when it is to end.
const untilTold = 300 * time.Millisecond

// obeyParent has the run with o begin and end when the process that has started this one says so, and with that process.
func obeyParent(o *load.Options, ends *ends) {
	begin := make(chan time.Time, 1)
	go func() { // until that process ends, or this one
		defer ends.cancel()
		for _, told := range []chan<- time.Time{begin, ends.stop} {
			var ns int64
			if _, err := fmt.Fscan(os.Stdin, &ns); err != nil {
				return
			}
			told <- time.Unix(0, ns)
		}
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	o.Begin = func(ctx context.Context) (time.Time, error) {
		fmt.Println(shardReady)
		select {
		case at := <-begin:
			return at, nil
		case <-ctx.Done():
			return time.Time{}, context.Cause(ctx)
		}
	}
	o.OnPhase = func(p load.Phase) error {
		if p.Name == load.PhaseWindow || p.Name == load.PhaseDrain {
			fmt.Println(shardPhase, p.Name, p.Window)
		}
		return nil
	}
}

// shardProcess is one that this process has started.
type shardProcess struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr bytes.Buffer
	json   string
	hlog   string // "" for none
}

// runShards runs all shards in processes of their own, and puts their results together. It watches the server for all of them.
func (c *loadCommand) runShards(ends *ends, o *load.Options, conditions []*result.Condition) error {
	server, err := c.watching.start(ends, o)
	if err != nil {
		return err
	}
	defer server.stop(true)
	dir, err := os.MkdirTemp("", "strand-load")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancel(ends)
	defer cancel()
	server.lookAt(load.Phase{Name: load.PhaseConnect})
	shards, err := c.startShards(ctx, dir)
	defer func() {
		cancel()
		for _, s := range shards {
			_ = s.cmd.Wait() // that of one which was waited for fails at once
		}
	}()
	if err != nil {
		return err
	}
	begun := make(chan struct{})
	go func() {
		select {
		case at := <-ends.stop:
			select {
			case <-begun:
				fmt.Fprintln(os.Stderr, waitingForRest)
				tell(shards, at.Add(untilTold))
			default:
				cancel()
			}
		case <-ctx.Done():
		}
	}()
	fmt.Fprintf(os.Stderr, "%d shards connect\n", len(shards))
	err = begin(shards, server)
	if err == nil {
		close(begun)
		fmt.Fprintf(os.Stderr, "%d shards run\n", len(shards))
		err = end(shards, server)
	}
	if ctx.Err() != nil || ends.asked.Load() && errors.Is(err, errInterrupted) {
		return errInterrupted
	}
	if err != nil {
		return err
	}
	server.stop(false)
	return c.mergeShards(shards, server, conditions)
}

// newRunID is a random one.
func newRunID() string { return fmt.Sprintf("%016x", rand.Uint64()) }

func (c *loadCommand) startShards(ctx context.Context, dir string) (shards []*shardProcess, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	id := c.RunID
	if id == "" {
		id = newRunID()
	}
	for i := range c.Shards {
		s := &shardProcess{json: filepath.Join(dir, fmt.Sprintf("%d.json", i+1))}
		args := append(withoutShards(os.Args[1:]), "--pipe", "--run-id", id, "--shard", fmt.Sprintf("%d/%d", i+1, c.Shards), "--json", s.json)
		if c.HLog != "" {
			s.hlog = filepath.Join(dir, fmt.Sprintf("%d%s", i+1, logSuffix))
			args = append(args, "--hlog", s.hlog)
		}
		s.cmd = exec.CommandContext(ctx, self, args...)
		s.cmd.Stderr = &s.stderr
		if s.stdin, err = s.cmd.StdinPipe(); err != nil {
			return shards, err
		}
		stdout, err := s.cmd.StdoutPipe()
		if err != nil {
			return shards, err
		}
		s.stdout = bufio.NewReader(stdout)
		if err := s.cmd.Start(); err != nil {
			return shards, err
		}
		shards = append(shards, s)
	}
	return shards, nil
}

// withoutShards removes the flags that shards get in another way.
func withoutShards(args []string) (kept []string) {
	for i := 0; i < len(args); i++ {
		name, _, hasValue := strings.Cut(args[i], "=")
		switch name {
		case "--shards", "--json", "--hlog", "--run-id", "--slo", "--server-pid", "--server-control", "--profile":
			if !hasValue {
				i++
			}
		default:
			kept = append(kept, args[i])
		}
	}
	return kept
}

// begin waits until all shards are connected, and tells them when traffic begins.
func begin(shards []*shardProcess, server *watched) error {
	for i, s := range shards {
		line, err := s.stdout.ReadString('\n')
		if err != nil || strings.TrimSpace(line) != shardReady {
			return s.failed(i)
		}
	}
	server.lookAt(load.Phase{Name: load.PhaseIdle})
	tell(shards, time.Now().Add(untilTold))
	return nil
}

// tell tells all shards a time. One that has ended does not hear it, which end sees.
func tell(shards []*shardProcess, at time.Time) {
	line := strconv.FormatInt(at.UnixNano(), 10) + "\n"
	for _, s := range shards {
		_, _ = io.WriteString(s.stdin, line)
	}
}

// end waits until all shards have ended. One that fails spoils the run. The server is looked at when the first shard says that a phase begins: all
// have the same phases at the same time.
func end(shards []*shardProcess, server *watched) error {
	errs := make([]error, len(shards))
	var all sync.WaitGroup
	for i, s := range shards {
		all.Go(func() {
			for {
				line, err := s.stdout.ReadString('\n')
				if err != nil {
					break
				}
				var p load.Phase
				if n, _ := fmt.Sscanf(line, shardPhase+" %s %d", &p.Name, &p.Window); n == 2 && i == 0 {
					server.lookAt(p)
				}
			}
			if s.cmd.Wait() != nil {
				errs[i] = s.failed(i)
			}
		})
	}
	all.Wait()
	if failed := slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return errors.Is(err, errInterrupted) }); errors.Join(failed...) != nil {
		return errors.Join(failed...)
	}
	return errors.Join(errs...)
}

// failed is the error of shard i, which has ended or is ended now.
func (s *shardProcess) failed(i int) error {
	_ = s.stdin.Close()
	_ = s.cmd.Wait()
	said := strings.TrimSpace(s.stderr.String())
	if said == "" {
		said = s.cmd.ProcessState.String()
	}
	said = strings.TrimPrefix(said, "strand: load: ")
	if said == errInterrupted.Error() {
		return fmt.Errorf("shard %d: %w", i+1, errInterrupted)
	}
	return fmt.Errorf("shard %d: %s", i+1, said)
}

func (c *loadCommand) mergeShards(shards []*shardProcess, server *watched, conditions []*result.Condition) error {
	var results, logs []string
	for _, s := range shards {
		results = append(results, s.json)
		logs = append(logs, s.hlog)
	}
	merged, err := mergeResults(results)
	if err != nil {
		return err
	}
	server.fill(merged)
	merged.Judge(conditions)
	if err := writeMerged(merged, logs, c.HLog, c.JSON); err != nil {
		return err
	}
	return errors.Join(outcome(merged), server.writeProfile())
}
