//go:build unix && !linux

package pollref

// POLLRDHUP is Linux's. Elsewhere a half-closed socket is only readable, until it is closed in both directions.
const rdhup = 0
