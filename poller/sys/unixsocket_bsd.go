//go:build (darwin || dragonfly || freebsd || netbsd || openbsd) && !386 && !arm

package sys

import "os"

// hold tells what is at path. A socket cannot be opened to hold it (open(2), EOPNOTSUPP), so a file that takes its place between two looks
// may get its number.
func hold(path string) (info os.FileInfo, forget func(), err error) {
	info, err = os.Lstat(path)
	return info, func() {}, err
}

// isAbstract reports whether a socket's name is none of a file: all are.
func isAbstract(string) bool { return false }
