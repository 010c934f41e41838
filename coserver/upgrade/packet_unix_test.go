//go:build unix

package upgrade_test

import (
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver/upgrade"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

// A socket for packets is passed on, too, with what has come and nobody has read.
func TestPacketsArePassedOn(t *testing.T) {
	leak.Check(t)
	t.Cleanup(func() { noChildIsLeft(t) })
	u, err := upgrade.New(program("takes packets", "udp", "127.0.0.1:0"))
	require.NoError(t, err)
	defer u.Stop()
	conn, err := u.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, u.Ready())
	client, err := net.Dial("udp", conn.LocalAddr().String())
	require.NoError(t, err)
	defer client.Close()
	require.NoError(t, client.SetDeadline(time.Now().Add(patience)))
	_, err = client.Write([]byte("early"))
	require.NoError(t, err)

	require.NoError(t, u.Upgrade(t.Context()))
	require.NoError(t, conn.Close())
	for _, packet := range []string{"early", "late", "end"} {
		if packet != "early" {
			_, err = client.Write([]byte(packet))
			require.NoError(t, err)
		}
		answer := make([]byte, 100)
		n, err := client.Read(answer)
		require.NoError(t, err)
		require.Regexp(t, "^"+packet+` \d+$`, string(answer[:n]))
		require.NotContains(t, string(answer[:n]), " "+strconv.Itoa(os.Getpid()))
	}
}

// takePackets answers each packet with itself and the id of the process, until one says that it is the end.
func takePackets() {
	u := newUpgrader()
	conn, err := u.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		die(err)
	}
	if err := u.Ready(); err != nil {
		die(err)
	}
	packet := make([]byte, 100)
	for {
		n, from, err := conn.ReadFrom(packet)
		if err != nil {
			die(err)
		}
		conn.WriteTo([]byte(string(packet[:n])+" "+strconv.Itoa(os.Getpid())), from)
		if string(packet[:n]) == "end" {
			return
		}
	}
}
