//go:build unix

package load

import "golang.org/x/sys/unix"

// descriptorLimit is how many file descriptors this process, and so a child of it, may have open. The Go runtime has
// raised the soft limit to the hard one at the start, and does so in the child.
func descriptorLimit() (limit uint64, limited bool) {
	var rlimit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &rlimit); err != nil {
		return 0, false
	}
	return uint64(rlimit.Cur), true
}
