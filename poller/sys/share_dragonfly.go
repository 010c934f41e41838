package sys

import "golang.org/x/sys/unix"

// shareOption spreads the connections to an address over the sockets that are bound to it (setsockopt(2)).
const shareOption = unix.SO_REUSEPORT
