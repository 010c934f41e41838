package coserver_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

func randomBytes(seed uint64, n int) []byte {
	p := make([]byte, n)
	source := rand.NewChaCha8([32]byte{byte(seed)})
	source.Read(p)
	return p
}

// faults.md L2: more buffers than one system call takes, empty ones among them, arrive as one stream, and are not changed.
func TestWritev(t *testing.T) {
	content := randomBytes(1, 3<<20)
	var bufs [][]byte
	for rest := content; len(rest) > 0; {
		n := min(len(rest), len(bufs)%97*13)
		bufs = append(bufs, rest[:n])
		rest = rest[n:]
	}
	require.Greater(t, len(bufs), 1024, "IOV_MAX")
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(network, func(t *testing.T) {
				written := make(chan int64, 1)
				addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
					if _, err := c.Writev(nil); err != nil {
						return err
					}
					n, err := c.Writev(bufs)
					written <- n
					return err
				}}, network)
				client := dial(t, addr)
				got, err := io.ReadAll(client)
				require.NoError(t, err)
				require.True(t, bytes.Equal(content, got))
				require.EqualValues(t, len(content), receive(t, written))
			})
		}
	})
}

// Lines that are answered by Writev stay behind what was gathered before them.
func TestWritevComesAfterGatheredOutput(t *testing.T) {
	addr := start(t, &coserver.Server{Handler: func(c *coserver.Conn) error {
		for i := 0; ; i++ {
			line, err := c.ReadSlice('\n')
			if err != nil {
				return err
			}
			if i%2 == 0 {
				_, err = c.Write(line)
			} else {
				_, err = c.Writev([][]byte{line[:1], line[1:]})
			}
			if err != nil {
				return err
			}
		}
	}}, "tcp")
	exchange(t, dial(t, addr), "one\ntwo\nthree\nfour\nfive\n")
}

// A write that meets its deadline says how much the kernel took, and the peer gets just that.
func TestTransferTimeout(t *testing.T) {
	content := randomBytes(2, 32<<20)
	file := fileWith(t, content)
	for name, write := range map[string]func(c *coserver.Conn) (int64, error){
		"Writev": func(c *coserver.Conn) (int64, error) {
			return c.Writev([][]byte{content[:5], content[5 : 20<<20], content[20<<20:]})
		},
		"sendfile": func(c *coserver.Conn) (int64, error) { return c.ReadFrom(file) },
	} {
		t.Run(name, func(t *testing.T) {
			c, client := held(t, "tcp")
			require.NoError(t, c.SetWriteDeadline(time.Now().Add(20*time.Millisecond)))
			n, err := write(c)
			requireTimeout(t, err)
			require.Positive(t, n)
			require.NoError(t, c.SetWriteDeadline(time.Time{}))
			go c.Close()
			got, err := io.ReadAll(client)
			require.NoError(t, err)
			require.True(t, bytes.Equal(content[:n], got))
		})
	}
}

func fileWith(t *testing.T, content []byte) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	file, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { file.Close() })
	return file
}

// Whatever a reader is, ReadFrom writes just what it has, from where it stands, and moves it on as reading does.
func TestReadFrom(t *testing.T) {
	content := randomBytes(3, 5<<20)
	file := fileWith(t, content)
	pipe := func() io.Reader {
		r, w := io.Pipe()
		go func() {
			w.Write(content)
			w.Close()
		}()
		return r
	}
	for name, c := range map[string]struct {
		reader func() io.Reader
		want   []byte
		rest   int64 // in file or limited reader afterwards
	}{
		"file":           {reader: func() io.Reader { file.Seek(0, io.SeekStart); return file }, want: content},
		"rest of a file": {reader: func() io.Reader { file.Seek(1000, io.SeekStart); return file }, want: content[1000:]},
		"part of a file": {reader: func() io.Reader { file.Seek(1, io.SeekStart); return io.LimitReader(file, 3000) }, want: content[1:3001]},
		"short file":     {reader: func() io.Reader { file.Seek(-10, io.SeekEnd); return io.LimitReader(file, 3000) }, want: content[len(content)-10:], rest: 2990},
		"nothing":        {reader: func() io.Reader { return io.LimitReader(file, 0) }},
		"memory":         {reader: func() io.Reader { return bytes.NewReader(content) }, want: content},
		"pipe":           {reader: pipe, want: content},
	} {
		t.Run(name, func(t *testing.T) {
			server, client := held(t, "tcp")
			reader := c.reader()
			go func() {
				n, err := server.ReadFrom(reader)
				if noError(t, err) && int64(len(c.want)) != n {
					t.Errorf("ReadFrom returned %d, want %d", n, len(c.want))
				}
				server.Close()
			}()
			got, err := io.ReadAll(client)
			require.NoError(t, err)
			require.True(t, bytes.Equal(c.want, got))
			if limited, ok := reader.(*io.LimitedReader); ok {
				require.Equal(t, c.rest, limited.N)
			}
		})
	}
	position, err := file.Seek(0, io.SeekCurrent)
	require.NoError(t, err)
	require.GreaterOrEqual(t, position, int64(0))
}

// relays are the ways to move what comes on one connection to another.
var relays = map[string]func(dst, src *coserver.Conn) (int64, error){
	"WriteTo":  func(dst, src *coserver.Conn) (int64, error) { return src.WriteTo(dst) },
	"ReadFrom": func(dst, src *coserver.Conn) (int64, error) { return dst.ReadFrom(src) },
	"limited": func(dst, src *coserver.Conn) (int64, error) {
		n, err := io.CopyN(dst, src, 3<<20+7)
		if err != nil {
			return n, err
		}
		m, err := io.Copy(dst, src)
		return n + m, err
	},
}

// expectMoved fails the test unless relay moves all that comes, part of which has been read before.
func expectMoved(t *testing.T, engine *coserver.Engine, network string, relay func(dst, src *coserver.Conn) (int64, error)) {
	t.Helper()
	content := randomBytes(4, 8<<20)
	src, from := heldOn(t, engine, network)
	dst, to := heldOn(t, engine, "tcp")
	go func() {
		from.Write(content)
		from.(interface{ CloseWrite() error }).CloseWrite()
	}()
	peeked, err := src.Peek(3)
	require.NoError(t, err)
	require.Equal(t, content[:3], peeked)
	go func() {
		n, err := relay(dst, src)
		if noError(t, err) && int(n) != len(content) {
			t.Errorf("moved %d bytes of %d", n, len(content))
		}
		dst.Close()
	}()
	got, err := io.ReadAll(to)
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, got))
}

// From connection to connection, in both directions of the call, with input that has been read before, and to the byte.
func TestSplice(t *testing.T) {
	for name, relay := range relays {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(name+" "+network, func(t *testing.T) {
				expectMoved(t, newEngine(t, coserver.EngineConfig{}), network, relay)
			})
		}
	}
}

// A splice whose input pauses gives its pipe back, so that idle ones hold no descriptors, and meets its deadlines.
func TestSpliceWaits(t *testing.T) {
	engine := newEngine(t, coserver.EngineConfig{})
	src, from := heldOn(t, engine, "tcp")
	dst, to := heldOn(t, engine, "tcp")
	moved := make(chan error, 1)
	go func() {
		_, err := src.WriteTo(dst)
		moved <- err
	}()
	for i := range 3 {
		message := strings.Repeat("message", i+1)
		_, err := from.Write([]byte(message))
		require.NoError(t, err)
		got := make([]byte, len(message))
		_, err = io.ReadFull(to, got)
		require.NoError(t, err)
		require.Equal(t, message, string(got))
	}
	require.NoError(t, src.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
	requireTimeout(t, receive(t, moved))
	require.NoError(t, src.SetReadDeadline(time.Time{}))
	go func() {
		_, err := src.WriteTo(dst)
		moved <- err
	}()
	require.NoError(t, src.Close())
	require.ErrorIs(t, receive(t, moved), net.ErrClosed)
}
