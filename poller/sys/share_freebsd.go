//go:build !386 && !arm

package sys

import "golang.org/x/sys/unix"

// shareOption spreads the connections to an address over the sockets that are bound to it (setsockopt(2), SO_REUSEPORT_LB).
const shareOption = unix.SO_REUSEPORT_LB
