package coserver_test

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"io"
	"net"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// swoole_socket_coro/sendfile: a file that comes after its length has the same sum at the other end. So have its parts, and many
// connections send one file at a time, for nobody moves its offset.
func TestSendFile(t *testing.T) {
	content := randomBytes(6, 3<<20+17)
	size := int64(len(content))
	file := fileWith(t, content)
	for _, secure := range []bool{false, true} {
		t.Run(map[bool]string{false: "plain", true: "TLS"}[secure], func(t *testing.T) {
			onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
				s := &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
					var asked [16]byte
					if _, err := c.ReadFull(asked[:]); err != nil {
						return err
					}
					offset, length := int64(binary.BigEndian.Uint64(asked[:])), int64(binary.BigEndian.Uint64(asked[8:]))
					announced := length
					if rest := max(0, size-offset); length == 0 || length > rest {
						announced = rest
					}
					if _, err := c.Write(binary.BigEndian.AppendUint64(nil, uint64(announced))); err != nil {
						return err
					}
					n, err := c.SendFile(file, offset, length)
					if n != announced {
						t.Errorf("%d bytes of %d from %d on", n, announced, offset)
					}
					return err
				}}
				if secure {
					s.TLSConfig = serverTLS()
				}
				addr := start(t, s, "tcp")
				var clients sync.WaitGroup
				for _, part := range [][2]int64{{0, 0}, {0, size}, {1, size}, {1000, 2 << 20}, {size - 1, 0}, {size, 0}, {size + 5, 10}, {7, 1}} {
					var client net.Conn
					if secure {
						client = dialTLS(t, addr, clientTLS())
					} else {
						client = dial(t, addr)
					}
					clients.Go(func() {
						asked := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(part[0])), uint64(part[1]))
						if _, err := client.Write(asked); !noError(t, err) {
							return
						}
						all, err := io.ReadAll(client)
						if !noError(t, err) || len(all) < 8 {
							t.Errorf("%d bytes", len(all))
							return
						}
						from := min(part[0], size)
						to := size
						if part[1] > 0 {
							to = min(size, from+part[1])
						}
						if int64(binary.BigEndian.Uint64(all)) != to-from || md5.Sum(all[8:]) != md5.Sum(content[from:to]) {
							t.Errorf("%d bytes from %d on: %d came, with another sum", to-from, from, len(all)-8)
						}
					})
				}
				clients.Wait()
			})
		})
	}
	position, err := file.Seek(0, io.SeekCurrent)
	require.NoError(t, err)
	require.Zero(t, position)
}

// What cannot be sent by the kernel alone goes through memory, and what cannot be sent at all is an error that says why.
func TestSendFileErrors(t *testing.T) {
	c, client := held(t, "tcp")
	file := fileWith(t, []byte("content"))
	for _, wrong := range [][2]int64{{-1, 0}, {0, -1}} {
		_, err := c.SendFile(file, wrong[0], wrong[1])
		require.ErrorIs(t, err, os.ErrInvalid)
	}
	_, err := c.SendFile(nil, 0, 0)
	require.ErrorIs(t, err, os.ErrInvalid)
	dir, err := os.Open(t.TempDir())
	require.NoError(t, err)
	defer dir.Close()
	_, err = c.SendFile(dir, 0, 0)
	require.Error(t, err)
	n, err := c.SendFile(file, 3, 2)
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
	require.NoError(t, file.Close())
	_, err = c.SendFile(file, 0, 0)
	require.ErrorIs(t, err, os.ErrClosed)
	require.NoError(t, c.Close())
	all, err := io.ReadAll(client)
	require.NoError(t, err)
	require.True(t, bytes.Equal([]byte("te"), all), "%q", all)
	_, err = c.SendFile(fileWith(t, []byte("late")), 0, 0)
	require.ErrorIs(t, err, net.ErrClosed)
}
