//go:build unix

package poller_test

import (
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/poller"
	"github.com/strand-net/strand/poller/pollertest"
	"github.com/strand-net/strand/poller/pollertest/leak"
	"github.com/strand-net/strand/poller/sys"
)

// TestNet runs the conformance tests over package net: sockets of this machine become descriptors of sys.Net.
func TestNet(t *testing.T) {
	leak.Check(t)
	pollertest.TestPoller(t, overNet(t))
}

func overNet(t *testing.T) pollertest.Backend {
	const noPipe = "it takes connections and listeners, no pipes"
	const noDuplicate = "its descriptors cannot be duplicated, and no number is used again"
	return pollertest.Backend{
		Open:   func() (poller.Poller, error) { return poller.New(sys.Net) },
		Kernel: sys.Net,
		Adopt: func(fd int) (int, error) {
			file := os.NewFile(uintptr(fd), "socket")
			defer file.Close()
			conn, err := net.FileConn(file)
			require.NoError(t, err)
			defer conn.Close()
			return sys.Net.Adopt(conn.(syscall.Conn))
		},
		NoUrgent: "package net does not tell of it",
		Without: map[string]string{
			"Edge/WritablePipeAgain":            noPipe,
			"Stream/Pipe":                       noPipe,
			"Condition/PipeReaderGone":          noPipe,
			"Condition/PipeWriterGone":          noPipe,
			"Condition/Urgent":                  "package net does not tell of it",
			"Identity/NumberReused":             noDuplicate,
			"Identity/NumberReusedWhileWaiting": noDuplicate,
			"Identity/DuplicateLeftOpen":        noDuplicate,
			"Identity/DuplicatesAreTwo":         noDuplicate,
			"Batch/EachOnceBeforeAnyTwice":      noDuplicate,
			"Connect/Listener":                  "its listeners have made a connection before they tell; sys: TestNetListener",
			"Connect/Connected":                 "who connects is no socket of the machine's before that; sys: TestNetConnect",
			"Connect/Refused":                   "the same",
		},
	}
}
