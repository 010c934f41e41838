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
		o.Begin = beginPiped
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

// What a shard and whoever has started it say to each other: that its connections are made; then, when traffic begins, in ns since 1970.
const shardReady = "ready"

// untilStart is how soon traffic begins when the last shard has its connections.
const untilStart = 300 * time.Millisecond

func beginPiped(ctx context.Context) (time.Time, error) {
	fmt.Println(shardReady)
	told := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
		told <- line
	}()
	select {
	case line := <-told:
		ns, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		if err != nil {
			return time.Time{}, errors.New("start-at: the process that has started this shard has ended")
		}
		return time.Unix(0, ns), nil
	case <-ctx.Done():
		return time.Time{}, context.Cause(ctx)
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

// runShards runs all shards in processes of their own, and puts their results together.
func (c *loadCommand) runShards(ctx context.Context, conditions []*result.Condition) error {
	dir, err := os.MkdirTemp("", "strand-load")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
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
	fmt.Fprintf(os.Stderr, "%d shards connect\n", len(shards))
	if err := begin(shards); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%d shards run\n", len(shards))
	if err := end(shards); err != nil {
		return err
	}
	return c.mergeShards(shards, conditions)
}

func (c *loadCommand) startShards(ctx context.Context, dir string) (shards []*shardProcess, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	id := c.RunID
	if id == "" {
		id = fmt.Sprintf("%016x", rand.Uint64())
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
		case "--shards", "--json", "--hlog", "--run-id", "--slo":
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
func begin(shards []*shardProcess) error {
	for i, s := range shards {
		line, err := s.stdout.ReadString('\n')
		if err != nil || strings.TrimSpace(line) != shardReady {
			return s.failed(i)
		}
	}
	at := strconv.FormatInt(time.Now().Add(untilStart).UnixNano(), 10) + "\n"
	for i, s := range shards {
		if _, err := io.WriteString(s.stdin, at); err != nil {
			return s.failed(i)
		}
	}
	return nil
}

// end waits until all shards have ended. One that fails spoils the run.
func end(shards []*shardProcess) error {
	errs := make([]error, len(shards))
	var all sync.WaitGroup
	for i, s := range shards {
		all.Go(func() {
			_, _ = io.Copy(io.Discard, s.stdout)
			if s.cmd.Wait() != nil {
				errs[i] = s.failed(i)
			}
		})
	}
	all.Wait()
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
	return fmt.Errorf("shard %d: %s", i+1, strings.TrimPrefix(said, "strand: load: "))
}

func (c *loadCommand) mergeShards(shards []*shardProcess, conditions []*result.Condition) error {
	var results, logs []string
	for _, s := range shards {
		results = append(results, s.json)
		logs = append(logs, s.hlog)
	}
	merged, err := mergeResults(results)
	if err != nil {
		return err
	}
	merged.Judge(conditions)
	if err := writeMerged(merged, logs, c.HLog, c.JSON); err != nil {
		return err
	}
	return outcome(merged)
}
