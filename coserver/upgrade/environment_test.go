package upgrade_test

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver/upgrade"
)

func TestVariables(t *testing.T) {
	const pid = 4711
	for _, c := range []struct {
		pid, fds, names, parent string
		want                    upgrade.Offer
		fails                   string
	}{
		// Nothing, or nothing for us.
		{},
		{fds: "2"},
		{fds: "nonsense"},
		{pid: "4712", fds: "2"},
		{pid: "4712", fds: "nonsense", names: "a:b:c"},
		{pid: "1", fds: "1"},

		// From systemd.
		{pid: "4711", want: upgrade.Offer{Direct: true}},
		{pid: "4711", fds: "0", want: upgrade.Offer{Direct: true}},
		{pid: "4711", fds: "2", want: upgrade.Offer{Direct: true, Count: 2}},
		{pid: "4711", fds: "1", names: "http", want: upgrade.Offer{Direct: true, Count: 1, Names: []string{"http"}}},
		{pid: "4711", fds: "3", names: "a::c", want: upgrade.Offer{Direct: true, Count: 3, Names: []string{"a", "", "c"}}},

		// From another process of this package, which has to confirm it.
		{fds: "1", names: "net=tcp", parent: "upgrade", want: upgrade.Offer{Role: "upgrade", Count: 1, Names: []string{"net=tcp"}}},
		{fds: "0", parent: "worker", want: upgrade.Offer{Role: "worker"}},
		{parent: "worker", want: upgrade.Offer{Role: "worker"}},
		{pid: "4711", fds: "1", parent: "worker", want: upgrade.Offer{Direct: true, Role: "worker", Count: 1}},
		{pid: "12", fds: "1", parent: "worker", want: upgrade.Offer{Role: "worker", Count: 1}},

		// Contradictions and worse.
		{pid: "me", fds: "1", fails: `LISTEN_PID: "me" is no number`},
		{pid: "-4711", fds: "1", fails: `LISTEN_PID: "-4711"`},
		{pid: " 4711", fds: "1", fails: `LISTEN_PID: " 4711"`},
		{pid: "99999999999999999999", fds: "1", fails: "LISTEN_PID"},
		{pid: "4711", fds: "-1", fails: `LISTEN_FDS: "-1" is no number from 0 to 1073741824`},
		{pid: "4711", fds: "+1", fails: "LISTEN_FDS"},
		{pid: "4711", fds: "1.5", fails: "LISTEN_FDS"},
		{pid: "4711", fds: "0x1", fails: "LISTEN_FDS"},
		{pid: "4711", fds: "1\n", fails: "LISTEN_FDS"},
		{pid: "4711", fds: "4294967297", fails: "LISTEN_FDS"},
		{pid: "4711", fds: "2147483647", fails: "LISTEN_FDS"},
		{pid: "4711", fds: "18446744073709551617", fails: "LISTEN_FDS"},
		{pid: "4711", fds: strings.Repeat("9", 10000), fails: "LISTEN_FDS"},
		{pid: "4711", fds: "2", names: "one", fails: "LISTEN_FDNAMES: 1 names for 2 descriptors"},
		{pid: "4711", fds: "0", names: "one", fails: "LISTEN_FDNAMES: 1 names for 0 descriptors"},
		{pid: "4711", fds: "1", names: strings.Repeat(":", 100000), fails: "LISTEN_FDNAMES: 100001 names"},
		{pid: "4711", fds: "1", parent: "uncle", fails: `STRAND_UPGRADE: unknown role "uncle"`},
		{fds: "-1", parent: "worker", fails: "LISTEN_FDS"},
	} {
		values := map[string]string{"LISTEN_PID": c.pid, "LISTEN_FDS": c.fds, "LISTEN_FDNAMES": c.names, "STRAND_UPGRADE": c.parent}
		o, err := upgrade.ReadOffer(func(name string) string { return values[name] }, pid)
		if c.fails != "" {
			require.ErrorContains(t, err, c.fails)
			continue
		}
		require.NoError(t, err, "%v", values)
		require.Equal(t, c.want, o, "%v", values)
	}
}

func FuzzVariables(f *testing.F) {
	f.Add("4711", "1", "http", "")
	f.Add("", "1", "net=tcp&addr=127.0.0.1%3A0", "upgrade")
	f.Fuzz(func(t *testing.T, pid, fds, names, parent string) {
		values := map[string]string{"LISTEN_PID": pid, "LISTEN_FDS": fds, "LISTEN_FDNAMES": names, "STRAND_UPGRADE": parent}
		o, err := upgrade.ReadOffer(func(name string) string { return values[name] }, 4711)
		if err != nil {
			return
		}
		require.True(t, len(o.Names) == 0 || len(o.Names) == o.Count)
		require.True(t, o.Count == 0 || o.Direct || o.Role != "")
		if o.Direct {
			named, err := strconv.Atoi(pid)
			require.NoError(t, err)
			require.Equal(t, 4711, named)
		}
	})
}

func TestLabels(t *testing.T) {
	for _, c := range []struct{ name, network, address string }{
		{"", "tcp", "127.0.0.1:0"},
		{"", "tcp6", "[fe80::1%eth0]:80"},
		{"web", "tcp", ":http"},
		{"", "unix", "/run/a b:c\x01%3A&=\n;+/s"},
		{"", "unix", "@abstract\x00\xff"},
		{"connection", "", ""},
	} {
		for _, file := range []string{"", "2049,4711"} {
			text, same, err := upgrade.Labelled(c.name, c.network, c.address, file)
			require.NoError(t, err)
			require.True(t, same, text)
			for _, r := range text {
				require.True(t, r > ' ' && r < 0x7f && r != ':', "%q", text) // sd_listen_fds_with_names(3)
			}
		}
	}
}

func addrPort(text string) netip.AddrPort { return netip.MustParseAddrPort(text) }

func TestAddresses(t *testing.T) {
	tcp := func(address string) net.Addr { return net.TCPAddrFromAddrPort(addrPort(address)) }
	for _, c := range []struct {
		addr             net.Addr
		network, address string
		want             bool
	}{
		{tcp("127.0.0.1:80"), "tcp", "127.0.0.1:80", true},
		{tcp("127.0.0.1:80"), "tcp4", "127.0.0.1:80", true},
		{tcp("127.0.0.1:80"), "tcp", "127.0.0.1:http", true},
		{tcp("[::ffff:127.0.0.1]:80"), "tcp", "127.0.0.1:80", true},
		{tcp("127.0.0.1:80"), "tcp", "[::ffff:127.0.0.1]:80", true},
		{tcp("127.0.0.1:80"), "tcp", "localhost:80", true},
		{tcp("127.0.0.1:80"), "tcp6", "127.0.0.1:80", false},
		{tcp("127.0.0.1:80"), "tcp", "127.0.0.1:81", false},
		{tcp("127.0.0.1:80"), "tcp", "127.0.0.1:0", false},
		{tcp("127.0.0.1:80"), "tcp", "127.0.0.2:80", false},
		{tcp("127.0.0.1:80"), "tcp", ":80", false},
		{tcp("127.0.0.1:80"), "udp", "127.0.0.1:80", false},
		{tcp("127.0.0.1:80"), "unix", "127.0.0.1:80", false},
		{tcp("127.0.0.1:80"), "tcp", "127.0.0.1", false},
		{tcp("127.0.0.1:80"), "tcp", "", false},
		{tcp("127.0.0.1:80"), "", "127.0.0.1:80", false},
		{tcp("[::1]:80"), "tcp", "[::1]:80", true},
		{tcp("[::1]:80"), "tcp4", "[::1]:80", false},
		{tcp("[fe80::1%lo]:80"), "tcp", "[fe80::1%lo]:80", true},
		{tcp("[fe80::1%lo]:80"), "tcp", "[fe80::1%eth0]:80", false},
		{tcp("[::]:80"), "tcp", ":80", true},
		{tcp("[::]:80"), "tcp", "0.0.0.0:80", true},
		{tcp("[::]:80"), "tcp6", ":80", true},
		{tcp("[::]:80"), "tcp4", ":80", false},
		{tcp("0.0.0.0:80"), "tcp4", ":80", true},
		{tcp("0.0.0.0:80"), "tcp", "[::]:80", true},
		{tcp("[::]:80"), "tcp", "127.0.0.1:80", false},
		{net.UDPAddrFromAddrPort(addrPort("127.0.0.1:80")), "udp", "127.0.0.1:80", true},
		{net.UDPAddrFromAddrPort(addrPort("127.0.0.1:80")), "tcp", "127.0.0.1:80", false},
		{&net.UnixAddr{Net: "unix", Name: "/run/s"}, "unix", "/run/s", true},
		{&net.UnixAddr{Net: "unix", Name: "@s"}, "unix", "@s", true},
		{&net.UnixAddr{Net: "unix", Name: "/run/s"}, "unixpacket", "/run/s", false},
		{&net.UnixAddr{Net: "unix", Name: "/run/s"}, "unix", "/run/t", false},
		{&net.UnixAddr{Net: "unix"}, "unix", "", false},
		{&net.IPAddr{}, "ip", "127.0.0.1", false},
	} {
		require.Equal(t, c.want, upgrade.IsAt(c.addr, c.network, c.address), "%v %s %q", c.addr, c.network, c.address)
	}
}

func TestEnvironmentOfAChild(t *testing.T) {
	in := []string{"A=1", "LISTEN_PID=1", "LISTEN_FDS=2", "LISTEN_FDNAMES=a:b", "LISTEN_PIDFDID=9", "STRAND_UPGRADE=worker", "LISTEN=x", "B"}
	require.Equal(t, []string{"A=1", "LISTEN=x", "B"}, upgrade.Without(in))
	require.Len(t, in, 8)
	require.Equal(t, "LISTEN_PID=1", in[1])
}
