package poller_test

import (
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
	leak.Check(t)
	pollertest.TestPoller(t, pollertest.Backend{
		Open: func() (poller.Poller, error) { return poller.New(sys.Host) },
	})
}
