package coserver_test

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// Any segmentation of a stream of bytes gives the same trace of a handler: what it is told does not depend on how the
// bytes were cut on their way.
func FuzzSegmentation(f *testing.F) {
	f.Add([]byte("one\ntwo\nthree"), []byte{1, 2, 3})
	f.Add([]byte("\n\n\n"), []byte{0})
	f.Add(bytes.Repeat([]byte("long line without an end "), 100), []byte{7, 200})
	traces := make(chan []string, 1)
	server := &coserver.Server{Handler: func(c *coserver.Conn) error {
		var trace []string
		for {
			line, err := c.ReadSlice('\n')
			trace = append(trace, string(line))
			if err != nil {
				traces <- trace
				return err
			}
			if _, err := c.Write(line); err != nil {
				traces <- trace
				return err
			}
		}
	}}
	ln, err := server.Listen("tcp", "127.0.0.1:0")
	require.NoError(f, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	f.Cleanup(func() {
		server.Close()
		<-served
	})
	f.Fuzz(func(t *testing.T, stream, cuts []byte) {
		if len(stream) > 32<<10 {
			return
		}
		c := dial(t, ln.Addr())
		defer c.Close()
		for rest, i := stream, 0; len(rest) > 0; i++ {
			n := len(rest)
			if i < len(cuts) && i < 100 {
				n = min(n, 1+int(cuts[i]))
			}
			_, err := c.Write(rest[:n])
			require.NoError(t, err)
			rest = rest[n:]
		}
		require.NoError(t, c.(*net.TCPConn).CloseWrite())
		answer, err := io.ReadAll(c)
		require.NoError(t, err)
		require.Equal(t, string(stream[:bytes.LastIndexByte(stream, '\n')+1]), string(answer))
		var want []string
		for line := range bytes.SplitAfterSeq(stream, []byte{'\n'}) {
			want = append(want, string(line))
		}
		require.Equal(t, want, receive(t, traces))
	})
}
