package main_test

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var strace = flag.String("strace", "", "the strace(1) that TestFaults is to use")

// fault is what the kernel does to the server, and what its clients must see all the same.
type fault struct {
	name   string
	inject []string // as strace has it: calls:what:when; each thread counts its own
	load   func(t *testing.T, s *serving)
}

const failedClose = "EINTR of close"

var faults = []fault{
	{"EINTR", []string{ // faults.md P5
		"epoll_pwait:error=EINTR:when=2+3", "recvfrom:error=EINTR:when=2+2", "sendto:error=EINTR:when=1+3", "accept4:error=EINTR:when=1+2",
	}, whole},
	{failedClose, []string{"close:error=EINTR:when=12+7"}, storm}, // the descriptor must not be closed again: it may be another's
	{"EMFILE", []string{"accept4:error=EMFILE:when=1..3"}, storm},
	{"ENFILE", []string{"accept4:error=ENFILE:when=1..3"}, storm},
	{"ECONNABORTED", []string{"accept4:error=ECONNABORTED:when=1+2"}, storm},
	{"ECONNRESET", []string{"recvfrom:error=ECONNRESET:when=40+100"}, victims},
	{"EPIPE", []string{"sendto:error=EPIPE:when=40+100"}, victims},
	// A server whose loops cannot be registered does not start: these come later.
	{"ENOSPC", []string{"epoll_ctl:error=ENOSPC:when=16+7"}, victims},
	{"ENOMEM", []string{"epoll_ctl:error=ENOMEM:when=16+7"}, victims},
	{"slow calls", []string{"recvfrom,sendto,accept4,close,epoll_ctl:delay_enter=300:when=3+5"}, storm},
	{"slow reader", []string{"sendto:error=EINTR:when=2+2"}, slowReader},
	{"late reply", []string{"sendto:delay_enter=30000"}, lateReply},
}

// Every way to serve lives through what the kernel may do to it, and its clients get their bytes.
func TestFaults(t *testing.T) {
	if *strace == "" {
		t.Skip("it needs strace: make faults")
	}
	for _, engine := range []string{"coserver --carrier inline", "coserver --carrier channel", "loop"} {
		for _, f := range faults {
			t.Run(engine+"/"+f.name, func(t *testing.T) {
				s, end := f.serve(t, engine)
				before := descriptors(t, s)
				f.load(t, s)
				stillServes := func() bool { return visit(s.addr, 0, 1, false) == nil }
				require.Eventually(t, stillServes, patience, time.Millisecond)
				if f.name != failedClose { // strace fails a call by not making it
					nothingLeft := func() bool { return descriptors(t, s) == before }
					require.Eventually(t, nothingLeft, patience, 10*time.Millisecond, "descriptors are left")
				}
				end()
			})
		}
	}
}

// serve runs strand serve under strace. end wants it to end well when it is told to, and the fault to have happened.
func (f *fault) serve(t *testing.T, engine string) (s *serving, end func()) {
	log := filepath.Join(t.TempDir(), "calls")
	args := []string{"-f", "-qq", "-o", log, "-e", "signal=none", "-e", "trace=" + strings.Join(f.calls(), ",")}
	for _, inject := range f.inject {
		args = append(args, "-e", "inject="+inject)
	}
	args = append(append(args, strand), serveArgs(strings.Fields("--until-eof --engine "+engine))...)
	stdin, hold, err := os.Pipe()
	require.NoError(t, err)
	s = startServing(t, stdin, exec.Command(*strace, args...))
	t.Cleanup(func() { hold.Close() }) // before it is waited for
	require.NoError(t, stdin.Close())
	return s, func() {
		require.NoError(t, hold.Close())
		ended := make(chan error, 1)
		go func() {
			io.Copy(io.Discard, s.stdout)
			ended <- s.cmd.Wait()
		}()
		select {
		case err := <-ended:
			require.NoError(t, err, "%s", &s.stderr)
		case <-time.After(patience):
			require.FailNow(t, "the server does not end")
		}
		trace, err := os.ReadFile(log)
		require.NoError(t, err)
		for _, call := range f.calls() {
			happened := regexp.MustCompile(`(?m)\b` + call + `(\(| resumed>).*\((INJECTED|DELAYED)\)$`)
			require.Regexp(t, happened, string(trace), call)
		}
	}
}

// descriptors counts what the traced server has open.
func descriptors(t *testing.T, s *serving) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", childOf(s.cmd.Process.Pid)))
	require.NoError(t, err)
	return len(entries)
}

// calls are the system calls that the fault is of.
func (f *fault) calls() []string {
	var names []string
	for _, inject := range f.inject {
		calls, _, _ := strings.Cut(inject, ":")
		names = append(names, strings.Split(calls, ",")...)
	}
	return names
}
