// Package control is how a server that is under load tells of itself to whoever measures it: what its Go runtime knows, and a CPU
// profile. It speaks HTTP, on a socket of its own, so that it can be asked by other programs too.
package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"time"

	"github.com/strand-net/strand/bench/result"
)

// State is what a server says of itself: the answer to GET /state, in JSON.
type State struct {
	PID        int            `json:"pid"`
	Go         string         `json:"go"`
	GOMAXPROCS int            `json:"gomaxprocs"`
	Runtime    result.Runtime `json:"runtime"`
}

// MaxProfile is the longest profile that can be asked for.
const MaxProfile = 10 * time.Minute

// SplitAddress takes "unix:PATH" or "HOST:PORT" apart, into what net.Listen and net.Dial take.
func SplitAddress(address string) (network, rest string, err error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if path == "" {
			return "", "", errors.New("unix: no path follows")
		}
		return "unix", path, nil
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		return "", "", fmt.Errorf("%w (wanted: unix:PATH or HOST:PORT)", err)
	}
	return "tcp", address, nil
}

// Handler answers for this process: GET /state, and GET /profile?for=DURATION, which takes that long, or until DELETE /profile. Whoever may
// ask can burden the process.
func Handler() http.Handler {
	var p profiler
	mux := http.NewServeMux()
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		// An error is that of a client that has gone.
		_ = json.NewEncoder(w).Encode(State{os.Getpid(), runtime.Version(), runtime.GOMAXPROCS(0), Runtime()})
	})
	mux.HandleFunc("GET /profile", p.take)
	mux.HandleFunc("DELETE /profile", p.end)
	return mux
}

// profiler takes profiles, one at a time.
type profiler struct {
	mu    sync.Mutex
	ended chan struct{} // of the one that is being taken, or nil
}

func (p *profiler) take(w http.ResponseWriter, r *http.Request) {
	length, err := time.ParseDuration(r.FormValue("for"))
	if err == nil && (length <= 0 || length > MaxProfile) {
		err = fmt.Errorf("%v is not between 0 and %v", length, MaxProfile)
	}
	if err != nil {
		http.Error(w, fmt.Sprintf("for: %v", err), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	// It writes at the end alone.
	if err := pprof.StartCPUProfile(w); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	defer pprof.StopCPUProfile()
	ended := make(chan struct{})
	p.mu.Lock()
	p.ended = ended
	p.mu.Unlock()
	select {
	case <-ended:
		return
	case <-time.After(length):
	case <-r.Context().Done():
	}
	p.mu.Lock()
	p.ended = nil
	p.mu.Unlock()
}

// end ends the profile that is being taken, if there is one: whoever has asked for it gets what there is.
func (p *profiler) end(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	if p.ended != nil {
		close(p.ended)
		p.ended = nil
	}
	p.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}
