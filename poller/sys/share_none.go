//go:build darwin || ((netbsd || openbsd) && !386 && !arm)

package sys

// shareOption is none: SO_REUSEPORT lets sockets share an address, but spreads nothing over them.
const shareOption = 0
