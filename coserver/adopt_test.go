package coserver_test

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

// A listener from elsewhere is taken over: its clients are served, also those that came before, and at the end the address is
// free and its path gone.
func TestServeForeignListener(t *testing.T) {
	inherited := func(t *testing.T, ln net.Listener) net.Listener { // as a parent process or systemd passes one on
		file, err := ln.(interface{ File() (*os.File, error) }).File()
		require.NoError(t, err)
		if ln, ok := ln.(*net.UnixListener); ok {
			ln.SetUnlinkOnClose(false)
		}
		require.NoError(t, ln.Close())
		defer file.Close()
		inherited, err := net.FileListener(file)
		require.NoError(t, err)
		return inherited
	}
	for name, of := range map[string]func(t *testing.T, network, address string) net.Listener{
		"net": func(t *testing.T, network, address string) net.Listener {
			ln, err := net.Listen(network, address)
			require.NoError(t, err)
			return ln
		},
		"inherited": func(t *testing.T, network, address string) net.Listener {
			ln, err := net.Listen(network, address)
			require.NoError(t, err)
			return inherited(t, ln)
		},
		"coserver": func(t *testing.T, network, address string) net.Listener {
			ln, err := coserver.Listen(network, address)
			require.NoError(t, err)
			return ln
		},
	} {
		for _, network := range []string{"tcp", "tcp6", "unix"} {
			t.Run(name+" "+network, func(t *testing.T) {
				leak.Check(t)
				ln := of(t, network, address(t, network))
				early := dial(t, ln.Addr())
				s := &coserver.Server{Handler: echoNext}
				served := make(chan error, 1)
				go func() { served <- s.Serve(ln) }()
				exchange(t, early, "before")
				require.Equal(t, ln.Addr(), s.Addr())
				c := dial(t, ln.Addr())
				exchange(t, c, "after")
				require.NoError(t, s.Close())
				require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
				_, err := net.Dial(network, ln.Addr().String())
				require.Error(t, err)
				if network == "unix" && name != "inherited" { // whoever inherits a path does not own it
					_, err := os.Stat(ln.Addr().String())
					require.ErrorIs(t, err, os.ErrNotExist)
				}
				require.ErrorIs(t, ln.Close(), net.ErrClosed)
				expectEnd(t, c)
			})
		}
	}
}

func TestServeRefusesWhatHasNoDescriptor(t *testing.T) {
	leak.Check(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	err = (&coserver.Server{Handler: echoNext}).Serve(tls.NewListener(ln, new(tls.Config)))
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.ErrorContains(t, err, "*tls.listener")

	require.NoError(t, ln.Close())
	require.ErrorIs(t, (&coserver.Server{Handler: echoNext}).Serve(ln), net.ErrClosed)
}
