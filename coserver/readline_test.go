package coserver_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// linesOf is what a handler gets by ReadLine(most) of a stream that comes in pieces, and the error of its last call.
func linesOf(t *testing.T, carrier coserver.Carrier, most int, pieces ...string) (lines []string, errs []error) {
	t.Helper()
	done := make(chan struct{}, 1)
	addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
		defer func() { done <- struct{}{} }()
		for {
			line, err := c.ReadLine(most)
			lines, errs = append(lines, string(line)), append(errs, err)
			if err != nil && err != bufio.ErrBufferFull {
				return err
			}
		}
	}}, "tcp")
	client := dial(t, addr)
	for _, piece := range pieces {
		_, err := io.WriteString(client, piece)
		require.NoError(t, err)
	}
	require.NoError(t, client.(*net.TCPConn).CloseWrite())
	receive(t, done)
	return lines, errs
}

func TestReadLine(t *testing.T) {
	full, cut := bufio.ErrBufferFull, io.ErrUnexpectedEOF
	longest := strings.Repeat("l", coserver.MaxLine)
	for _, c := range []struct {
		name   string
		max    int
		stream string
		lines  []string
		errs   []error // nil: only io.EOF, with nothing, at the end
	}{
		{"both ends", 10, "one\ntwo\r\n\n\r\nthree\n", []string{"one", "two", "", "", "three", ""}, nil},
		{"a \\r elsewhere", 10, "a\rb\n\r\r\nc\r", []string{"a\rb", "\r", "c\r"}, []error{nil, nil, cut}},
		{"an end in the middle", 10, "whole\npart", []string{"whole", "part"}, []error{nil, cut}},
		{"just as long as allowed", 4, "four\nfour\r\n\n", []string{"four", "four", "", ""}, nil},
		{"too long by one", 4, "fives\nfives\r\n", []string{"five", "s", "five", "s", ""}, []error{full, nil, full, nil, io.EOF}},
		{"a \\r after the last", 4, "four\rx\n", []string{"four", "\rx", ""}, []error{full, nil, io.EOF}},
		{"a \\r after the last at the end", 4, "four\r", []string{"four", "\r"}, []error{full, cut}},
		{"the longest", coserver.MaxLine, longest + "\r\n" + longest + "!\n", []string{longest, longest, "!", ""}, []error{nil, full, nil, io.EOF}},
		{"nothing", 4, "", []string{""}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
				want := c.errs
				if want == nil {
					want = make([]error, len(c.lines))
					want[len(want)-1] = io.EOF
				}
				for _, pieces := range [][]string{{c.stream}, bytePieces(c.stream)} {
					lines, errs := linesOf(t, carrier, c.max, pieces...)
					require.Equal(t, c.lines, lines)
					require.Equal(t, want, errs)
				}
			})
		})
	}
}

// bytePieces cuts s into its bytes, if it is short.
func bytePieces(s string) []string {
	if len(s) > 100 {
		return []string{s[:1], s[1:]}
	}
	return strings.Split(s, "")
}

// swoole_socket_coro/recv_line. There a \r ends a line as well; here it is a part of what comes after it.
func TestReadLineOfAtMost128(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		lines, errs := linesOf(t, carrier, 128, "hello world\n", "\r", strings.Repeat("A", 128), strings.Repeat("B", 125))
		require.Equal(t, []string{"hello world", "\r" + strings.Repeat("A", 127), "A" + strings.Repeat("B", 125)}, lines)
		require.Equal(t, []error{nil, bufio.ErrBufferFull, io.ErrUnexpectedEOF}, errs)
	})
}

func TestReadLineOfNoLength(t *testing.T) {
	c, _ := held(t, "tcp")
	for _, most := range []int{-1, 0, coserver.MaxLine + 1} {
		_, err := c.ReadLine(most)
		require.ErrorContains(t, err, "want 1 to 65534")
	}
}

// A timeout in the middle of a line loses nothing, and a \r that came before it belongs to the end that comes after.
func TestReadLineTimesOut(t *testing.T) {
	c, client := held(t, "tcp")
	_, err := io.WriteString(client, "li")
	require.NoError(t, err)
	for _, more := range []string{"ne\r", "\nnext\n"} {
		require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
		_, err := c.ReadLine(10)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		_, err = io.WriteString(client, more)
		require.NoError(t, err)
	}
	require.NoError(t, c.SetReadDeadline(time.Time{}))
	for _, want := range []string{"line", "next"} {
		line, err := c.ReadLine(10)
		require.NoError(t, err)
		require.Equal(t, want, string(line))
	}
}

// FuzzReadLine compares it with a plain cut of the stream.
func FuzzReadLine(f *testing.F) {
	f.Add([]byte("one\r\ntwo\n\rthree\r"), []byte{1, 5}, byte(3))
	f.Add([]byte("\n\r\n\r\r\n"), []byte{0}, byte(0))
	conns := make(chan *coserver.Conn)
	over := make(chan struct{})
	server := &coserver.Server{Handler: func(c *coserver.Conn) error {
		conns <- c
		c.Wait()
		return nil
	}}
	ln, err := server.Listen("tcp", "127.0.0.1:0")
	require.NoError(f, err)
	go func() {
		server.Serve(ln)
		close(over)
	}()
	f.Cleanup(func() {
		server.Close()
		<-over
	})
	f.Fuzz(func(t *testing.T, stream, cuts []byte, size byte) {
		if len(stream) > 4<<10 {
			return
		}
		most := int(size) + 1
		client := dial(t, ln.Addr())
		defer client.Close()
		c := receive(t, conns)
		defer c.Close()
		go func() {
			for rest, i := stream, 0; len(rest) > 0; i++ {
				n := len(rest)
				if i < len(cuts) && i < 50 {
					n = min(n, 1+int(cuts[i]))
				}
				client.Write(rest[:n])
				rest = rest[n:]
			}
			client.(*net.TCPConn).CloseWrite()
		}()
		for rest := stream; ; {
			want, wantErr := []byte(nil), error(nil)
			end := bytes.IndexByte(rest, '\n')
			if end >= 0 {
				want = bytes.TrimSuffix(rest[:end:end], []byte{'\r'})
			}
			switch {
			case end >= 0 && len(want) <= most:
				rest = rest[end+1:]
			case len(rest) > most:
				want, wantErr, rest = rest[:most], bufio.ErrBufferFull, rest[most:]
			case len(rest) > 0:
				want, wantErr, rest = rest, io.ErrUnexpectedEOF, nil
			default:
				want, wantErr = nil, io.EOF
			}
			line, err := c.ReadLine(most)
			require.Equal(t, wantErr, err)
			require.Equal(t, string(want), string(line))
			if err == io.EOF {
				return
			}
		}
	})
}
