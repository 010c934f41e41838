package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/strand-net/strand/bench/control"
	"github.com/strand-net/strand/bench/load"
	"github.com/strand-net/strand/bench/result"
	"github.com/strand-net/strand/bench/watch"
)

// watching is how strand load is told which server it is to watch.
type watching struct {
	ServerPID     serverPID `name:"server-pid" help:"Process of the server, which is watched while it is under load; by default the one of this machine that listens there, if there is just one. none: it is not watched." placeholder:"N" group:"Server:"`
	ServerControl string    `name:"server-control" help:"Control socket of the server, unix:PATH or HOST:PORT, which is asked for what its runtime knows, as of strand serve --control." placeholder:"ADDR" group:"Server:"`
	Profile       string    `help:"Write a CPU profile of the server within the windows to this file. It needs --server-control." placeholder:"FILE" group:"Server:"`
}

// serverPID is a process as a flag: 0 is to be found out.
type serverPID struct {
	pid  int
	none bool
}

func (p *serverPID) UnmarshalText(text []byte) error {
	if s := string(text); s == "none" || s == "0" {
		p.none = true
		return nil
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil || pid < 0 {
		return fmt.Errorf("%q is no process, nor none", text)
	}
	p.pid = pid
	return nil
}

// validate reports what cannot be meant.
func (w *watching) validate() error {
	switch {
	case w.Profile != "" && w.ServerControl == "":
		return errors.New("profile: it needs --server-control")
	case w.ServerControl == "":
		return nil
	case w.ServerPID.none:
		return errors.New("server-control: a server that is not watched is not asked")
	}
	if _, _, err := control.SplitAddress(w.ServerControl); err != nil {
		return fmt.Errorf("server-control: %w", err)
	}
	return nil
}

// watched is a server that is watched while it is under load, or is not.
type watched struct {
	watcher *watch.Watcher // nil if it is not
	cancel  context.CancelFunc
	why     string // it is not, if somebody should know
	profile string // path to write one to
	outcome *watch.Outcome
	err     error // that has ended it
}

// start begins to watch the server of o. An error is that of what was asked for.
func (w *watching) start(ctx context.Context, o *load.Options) (*watched, error) {
	wo := watch.Options{PID: w.ServerPID.pid, Control: w.ServerControl}
	found := wo.PID == 0 && wo.Control == ""
	if w.ServerPID.none {
		return &watched{}, nil
	}
	if found {
		pid, why := findServer(o)
		if pid == 0 {
			return &watched{why: why}, nil
		}
		wo.PID = pid
	}
	if w.Profile != "" {
		wo.ProfileFor = control.MaxProfile // it ends with the last window
	}
	ctx, cancel := context.WithCancel(ctx)
	watcher, err := watch.Start(ctx, wo)
	switch {
	case err == nil:
		return &watched{watcher: watcher, cancel: cancel, profile: w.Profile}, nil
	case found:
		cancel()
		return &watched{why: strings.TrimPrefix(err.Error(), "watch: ")}, nil
	}
	cancel()
	return nil, usageError{fmt.Errorf("server: %w", err)}
}

// findServer returns the process of this machine that listens where o goes to, or why it is not watched although there is one.
func findServer(o *load.Options) (pid int, why string) {
	addresses, err := o.Addresses()
	if err != nil {
		return 0, "" // the run has the same error
	}
	for _, address := range addresses {
		one, err := watch.FindListener(cmp.Or(o.Network, "tcp"), address)
		switch {
		case errors.Is(err, watch.ErrNoListener), errors.Is(err, errors.ErrUnsupported):
			return 0, "" // it may be on another machine
		case err != nil:
			return 0, strings.TrimPrefix(err.Error(), "watch: ")
		case pid != 0 && one != pid:
			return 0, fmt.Sprintf("processes %d and %d are behind %s: name one of them by its id", pid, one, o.Addr)
		}
		pid = one
	}
	return pid, ""
}

// lookAt has the server looked at when a phase of a run begins that calls for it.
func lookAt(watcher *watch.Watcher, p load.Phase) {
	switch p.Name {
	case load.PhaseConnect:
		watcher.Mark(watch.Before)
	case load.PhaseIdle:
		watcher.Mark(watch.Idle)
	case load.PhaseWindow:
		if p.Window == 0 {
			watcher.Mark(watch.Begin)
		} else {
			watcher.Mark(watch.Boundary)
		}
	case load.PhaseDrain:
		watcher.Mark(watch.End)
	}
}

func (w *watched) lookAt(p load.Phase) {
	if w.watcher != nil {
		lookAt(w.watcher, p)
	}
}

// stop ends the watching. A run that has failed has no profile that it would be worth to wait for.
func (w *watched) stop(failed bool) {
	if w.watcher == nil {
		return
	}
	if failed {
		w.cancel()
	}
	w.outcome, w.err = w.watcher.Stop()
	w.cancel()
	w.watcher = nil
}

// fill writes what was seen into run.
func (w *watched) fill(run *result.Run) {
	run.Unwatched = w.why
	if w.outcome == nil {
		return
	}
	w.outcome.Fill(run)
	if w.err != nil && w.profile == "" { // otherwise it is the profile's
		fmt.Fprintf(os.Stderr, "the server was not watched to the end: %v\n", w.err)
	}
}

// writeProfile writes the profile, if one was asked for.
func (w *watched) writeProfile() error {
	switch {
	case w.profile == "":
		return nil
	case len(w.outcome.Profile) == 0 && w.err != nil:
		return fmt.Errorf("profile: %w", w.err)
	case len(w.outcome.Profile) == 0:
		return errors.New("profile: there is none")
	}
	err := writeFile(w.profile, func(out io.Writer) error {
		_, err := out.Write(w.outcome.Profile)
		return err
	})
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	return nil
}
