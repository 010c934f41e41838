package upgrade

import (
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

// The variables of the protocol: sd_listen_fds(3). LISTEN_PIDFDID is systemd's own and says nothing to us, but it must not
// reach a child either.
const (
	variablePID   = "LISTEN_PID"
	variableFDs   = "LISTEN_FDS"
	variableNames = "LISTEN_FDNAMES"
	variablePIDFD = "LISTEN_PIDFDID"

	// variableParent says that a process of this package has passed the sockets, and as what this one is to serve. The parent
	// is reached by the descriptor after the last socket.
	variableParent = "STRAND_UPGRADE"
)

var variables = []string{variablePID, variableFDs, variableNames, variablePIDFD, variableParent}

// firstFD is the number of the first socket that is passed.
const firstFD = 3

// role is what a process was started as.
type role string

const (
	alone     role = ""        // by anybody else, systemd for one
	successor role = "upgrade" // to take the place of its parent
	worker    role = "worker"  // to serve beside others, until its Supervisor says otherwise
)

// offer is what the variables of the protocol say.
type offer struct {
	direct bool // LISTEN_PID names this process
	role   role // which the parent must confirm, unless it is alone
	count  int
	names  []string // none, or one for each
}

// readOffer reads the variables by get, which is os.Getenv, for the process pid. It opens and checks nothing. There is nothing
// for this process in an offer that is neither direct nor has a role.
func readOffer(get func(string) string, pid int) (offer, error) {
	o := offer{role: role(get(variableParent))}
	if text := get(variablePID); text != "" {
		named, err := number(text)
		if err != nil {
			return offer{}, fmt.Errorf("upgrade: %s: %w", variablePID, err)
		}
		o.direct = named == pid
	}
	switch o.role {
	case successor, worker:
	case alone:
		if !o.direct {
			return offer{}, nil
		}
	default:
		return offer{}, fmt.Errorf("upgrade: %s: unknown role %q", variableParent, string(o.role))
	}
	if text := get(variableFDs); text != "" {
		var err error
		if o.count, err = number(text); err != nil {
			return offer{}, fmt.Errorf("upgrade: %s: %w", variableFDs, err)
		}
	}
	if names := get(variableNames); names != "" {
		o.names = strings.Split(names, ":")
		if len(o.names) != o.count {
			return offer{}, fmt.Errorf("upgrade: %s: %d names for %d descriptors", variableNames, len(o.names), o.count)
		}
	}
	return o, nil
}

// maxFDs is beyond any process's limit (NR_OPEN).
const maxFDs = 1 << 30

// number reads a decimal number that has no sign.
func number(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n > maxFDs {
		return 0, fmt.Errorf("%q is no number from 0 to %d", text, maxFDs)
	}
	return int(n), nil
}

// takeWatchdog has the service manager's watchdog mean this process, if it means its parent: it is for the main process
// (sd_watchdog_enabled(3)), and whoever is not meant does not feed it.
func takeWatchdog(parent, pid int) {
	const variable = "WATCHDOG_PID"
	if os.Getenv(variable) == strconv.Itoa(parent) {
		os.Setenv(variable, strconv.Itoa(pid))
	}
}

// forget unsets the variables, so that no child believes them.
func forget() {
	for _, name := range variables {
		os.Unsetenv(name)
	}
}

// without returns environment less the variables of the protocol.
func without(environment []string) []string {
	return slices.DeleteFunc(slices.Clone(environment), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(variables, name)
	})
}

// label is what a socket that this package passes on is called in LISTEN_FDNAMES: what it was asked for by, so that the
// next process finds it by asking for the same, and which name somebody else had given it.
type label struct {
	name             string // of LISTEN_FDNAMES at first
	network, address string // of Listen or ListenPacket
	file             string // of a unix socket, which is to be removed in the end: see fileAt
}

// String has no colon and no control character: LISTEN_FDNAMES allows neither.
func (l label) String() string {
	values := url.Values{}
	for key, value := range map[string]string{"name": l.name, "net": l.network, "addr": l.address, "file": l.file} {
		if value != "" {
			values.Set(key, value)
		}
	}
	return values.Encode()
}

func parseLabel(text string) (label, error) {
	values, err := url.ParseQuery(text)
	if err != nil {
		return label{}, fmt.Errorf("upgrade: %s: %w", variableNames, err)
	}
	return label{values.Get("name"), values.Get("net"), values.Get("addr"), values.Get("file")}, nil
}
