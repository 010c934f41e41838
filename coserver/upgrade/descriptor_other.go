//go:build !unix

package upgrade

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// supported says that descriptors can be passed to a process.
const supported = false

func openInherited(int, int) ([]inherited, error) { return nil, errors.ErrUnsupported }
func fileAt(string) string                        { return "" }
func openControl(int) net.Conn                    { return nil }
func peek(net.Conn, []byte) (int, error)          { return 0, errors.ErrUnsupported }
func closeFD(int)                                 {}
func newControl() (net.Conn, *os.File, error)     { return nil, nil, errors.ErrUnsupported }
func duplicate(syscall.Conn) (*os.File, error)    { return nil, errors.ErrUnsupported }
func ownGroup() *syscall.SysProcAttr              { return nil }
func terminate(*os.Process) error                 { return errors.ErrUnsupported }
