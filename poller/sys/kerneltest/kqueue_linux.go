package kerneltest

import (
	"errors"
	"syscall"

	"github.com/strand-net/strand/poller"
	"github.com/strand-net/strand/poller/sys"
	"github.com/strand-net/strand/poller/sys/systest/bsdtest"
)

// kqueue is as macOS and DragonFly have it, kqueue-pipe as NetBSD has.
func init() {
	substitutes["kqueue"] = func() { useKqueue(bsdtest.New(), poller.NewKqueue) }
	substitutes["kqueue-pipe"] = func() {
		kernel := bsdtest.New()
		kernel.NoUser, kernel.NoExcept, kernel.OneWay = true, true, true
		useKqueue(kernel, poller.NewKqueuePipe)
	}
}

func useKqueue(kernel *bsdtest.Kernel, open func(sys.Kqueue) (poller.Poller, error)) {
	sys.Host = kernel
	own := poller.Backend
	poller.Backend = func(of sys.Kernel) (poller.Poller, error) {
		p, err := own(of)
		if errors.Is(err, syscall.ENOSYS) { // the kernel is this one, or one that stands before it
			return open(kernel)
		}
		return p, err
	}
}
