package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// hold tells what is at path. Until forget no other file can get its number: so it is known from one that takes its place.
func hold(path string) (info os.FileInfo, forget func(), err error) {
	file, err := os.OpenFile(path, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err = file.Stat()
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return info, func() { file.Close() }, nil
}

// isAbstract reports whether a socket's name is none of a file (unix(7)).
func isAbstract(name string) bool { return name == "" || name[0] == '@' }
