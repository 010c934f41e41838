package poller_test

import (
	"os"
	"runtime"
	"testing"

	"github.com/strand-net/strand/poller"
	"github.com/strand-net/strand/poller/pollertest"
	"github.com/strand-net/strand/poller/pollertest/leak"
	"github.com/strand-net/strand/poller/sys"
	"github.com/strand-net/strand/poller/sys/kerneltest"
)

func TestMain(m *testing.M) {
	kerneltest.Substitute()
	leak.Main(m)
}

func TestHost(t *testing.T) {
	if !sys.Host.Direct() {
		t.Skip("the descriptors of sys.Net are not the machine's: TestNet")
	}
	leak.Check(t)
	pollertest.TestPoller(t, pollertest.Backend{
		Open:     func() (poller.Poller, error) { return poller.New(sys.Host) },
		NoUrgent: noUrgent(),
	})
}

// noUrgent is why poller.New's backend cannot report Urgent, if it cannot.
func noUrgent() string {
	if os.Getenv(kerneltest.Variable) == "kqueue-pipe" || runtime.GOOS == "freebsd" || runtime.GOOS == "netbsd" {
		return "kqueue(2) has no filter for it there"
	}
	return ""
}
