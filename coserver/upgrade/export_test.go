package upgrade

import "net"

// Export guts for testing.

var (
	Without   = without
	Variables = variables
)

// IsAt asks placeOf about one address.
func IsAt(addr net.Addr, network, address string) bool { return placeOf(network, address)(addr) }

// Offer is what readOffer makes of variables.
type Offer struct {
	Direct bool
	Role   string
	Count  int
	Names  []string
}

func ReadOffer(get func(string) string, pid int) (Offer, error) {
	o, err := readOffer(get, pid)
	return Offer{o.direct, string(o.role), o.count, o.names}, err
}

// Labelled sends a label through the form that it has in LISTEN_FDNAMES.
func Labelled(name, network, address, file string) (text string, same bool, err error) {
	l := label{name, network, address, file}
	back, err := parseLabel(l.String())
	return l.String(), back == l, err
}

// Files counts the files that are removed with the listeners of u.
func (u *Upgrader) Files() (count int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, s := range u.sockets {
		if s.file != "" {
			count++
		}
	}
	return count
}

var _ net.Listener = (*tcpListener)(nil)
