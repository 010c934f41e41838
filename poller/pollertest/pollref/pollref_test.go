//go:build unix

package pollref_test

import (
	"testing"

	"github.com/strand-net/strand/poller"
	"github.com/strand-net/strand/poller/pollertest"
	"github.com/strand-net/strand/poller/pollertest/leak"
	"github.com/strand-net/strand/poller/pollertest/pollref"
	"github.com/strand-net/strand/poller/sys"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestReference(t *testing.T) {
	leak.Check(t)
	pollertest.TestPoller(t, pollertest.Backend{
		Open:    func() (poller.Poller, error) { return pollref.New(sys.Host) },
		Repeats: "poll(2) tells states: one that ended and began again between two looks cannot be told from one that lasted",
	})
}
