package coserver_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

// pair returns the configuration of a server and of a client that trusts it.
var pair = sync.OnceValues(func() (server, client *tls.Config) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "strand.test"},
		DNSNames:     []string{"strand.test"},
		NotAfter:     time.Now().Add(time.Hour),
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	server = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"echo", "h2"}}
	return server, &tls.Config{RootCAs: roots, ServerName: "strand.test"}
})

func serverTLS() *tls.Config {
	config, _ := pair()
	return config.Clone()
}

func clientTLS() *tls.Config {
	_, config := pair()
	return config.Clone()
}

// dialTLS connects with crypto/tls over package net.
func dialTLS(t *testing.T, addr net.Addr, config *tls.Config) *tls.Conn {
	t.Helper()
	c := tls.Client(dial(t, addr), config)
	require.NoError(t, c.Handshake())
	return c
}

// Whatever a handler reads and writes with, TLS of every version carries it.
func TestTLS(t *testing.T) {
	for name, handler := range map[string]func(*coserver.Conn) error{"Next": echoNext, "Read": echoRead, "ReadSlice": echoLine} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+" "+tls.VersionName(version), func(t *testing.T) {
				onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
					addr := start(t, &coserver.Server{Handler: handler, Carrier: carrier, TLSConfig: serverTLS()}, "tcp")
					config := clientTLS()
					config.MaxVersion = version
					c := dialTLS(t, addr, config)
					for i := range 20 {
						exchange(t, c, strings.Repeat("secret", i)+"\n")
					}
					content := randomBytes(5, 1<<20)
					content[len(content)-1] = '\n'
					go func() {
						_, err := c.Write(content)
						if err == nil {
							err = c.CloseWrite()
						}
						noError(t, err)
					}()
					got, err := io.ReadAll(c)
					require.NoError(t, err)
					require.True(t, bytes.Equal(content, got))
				})
			})
		}
	}
}

// The handler learns what the handshake has agreed upon, and a plain connection says that it has none.
func TestTLSState(t *testing.T) {
	states := make(chan *tls.ConnectionState, 1)
	handler := func(c *coserver.Conn) error {
		states <- c.TLS()
		return nil
	}
	config := clientTLS()
	config.NextProtos = []string{"h2"}
	dialTLS(t, start(t, &coserver.Server{Handler: handler, TLSConfig: serverTLS()}, "tcp"), config)
	require.Equal(t, "h2", receive(t, states).NegotiatedProtocol)
	dial(t, start(t, &coserver.Server{Handler: handler}, "tcp"))
	require.Nil(t, receive(t, states))
}

// A record that comes byte by byte, several in one segment, and the end of the stream with the last one.
func TestTLSSegmentation(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		addr := start(t, &coserver.Server{Handler: echoLine, Carrier: carrier, TLSConfig: serverTLS()}, "tcp")
		wire := &choppy{Conn: dial(t, addr)}
		c := tls.Client(wire, clientTLS())
		require.NoError(t, c.Handshake())
		for _, size := range []int{1, 7, 1 << 20} {
			wire.size = size
			exchange(t, c, "byte by byte\nor in pieces\n")
		}
		wire.hold = true
		for _, line := range []string{"first\n", "second\n", "third\n", "no end"} {
			_, err := io.WriteString(c, line)
			require.NoError(t, err)
		}
		require.NoError(t, c.CloseWrite())
		wire.release(t)
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		require.Equal(t, "first\nsecond\nthird\nno end", string(got))
	})
}

// choppy writes in pieces of a size, or keeps all until release.
type choppy struct {
	net.Conn
	size int
	hold bool
	kept []byte
}

func (c *choppy) Write(p []byte) (int, error) {
	if c.hold {
		c.kept = append(c.kept, p...)
		return len(p), nil
	}
	for rest := p; len(rest) > 0; {
		n, err := c.Conn.Write(rest[:min(len(rest), max(1, c.size))])
		if err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

func (c *choppy) release(t *testing.T) {
	t.Helper()
	require.NoError(t, c.SetWriteDeadline(time.Time{})) // tls.Conn.CloseWrite leaves it in the past
	_, err := c.Conn.Write(c.kept)
	require.NoError(t, err)
}

// Who does not finish the handshake is cut, and holds up nobody.
func TestHandshakeTimeout(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		reported := make(chan error, 1)
		s := &coserver.Server{Handler: echoNext, Carrier: carrier, TLSConfig: serverTLS(), HandshakeTimeout: time.Second, // a slow machine needs some of it
			OnError: func(_ *coserver.Conn, err error) { reported <- err }}
		addr := start(t, s, "tcp")
		silent := dial(t, addr)
		exchange(t, dialTLS(t, addr, clientTLS()), "meanwhile")
		expectEnd(t, silent)
		err := receive(t, reported)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.ErrorContains(t, err, "TLS handshake")

		// The limit ends with the handshake.
		c := dialTLS(t, addr, clientTLS())
		time.Sleep(1100 * time.Millisecond) // it is the passing of time that must do nothing
		exchange(t, c, "later")
	})
}

func TestHandshakeFails(t *testing.T) {
	reported := make(chan error, 1)
	s := &coserver.Server{Handler: echoNext, TLSConfig: serverTLS(), OnError: func(_ *coserver.Conn, err error) { reported <- err }}
	addr := start(t, s, "tcp")
	plain := dial(t, addr)
	_, err := io.WriteString(plain, "GET / HTTP/1.1\r\n\r\n")
	require.NoError(t, err)
	err = receive(t, reported)
	var header tls.RecordHeaderError
	require.ErrorAs(t, err, &header)

	stranger := tls.Client(dial(t, addr), &tls.Config{ServerName: "other.test"})
	require.Error(t, stranger.Handshake())
	require.ErrorContains(t, receive(t, reported), "bad certificate")
	exchange(t, dialTLS(t, addr, clientTLS()), "the next is served")
	require.Error(t, (&coserver.Server{Handler: echoNext, TLSConfig: new(tls.Config)}).ListenAndServe("tcp", "127.0.0.1:0"))
}

// Deadlines lose nothing under TLS either: a read goes on in mid-record, and a write that was cut short is completed.
func TestTLSDeadlines(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		timedOut := make(chan error, 1)
		got := make(chan string, 1)
		addr := start(t, &coserver.Server{Carrier: carrier, TLSConfig: serverTLS(), Handler: func(c *coserver.Conn) error {
			if err := c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
				return err
			}
			buffer := make([]byte, 100)
			_, err := c.ReadFull(buffer[:4])
			timedOut <- err
			if err := c.SetReadDeadline(time.Time{}); err != nil {
				return err
			}
			_, err = c.ReadFull(buffer[:4])
			got <- string(buffer[:4])
			return err
		}}, "tcp")
		wire := &choppy{Conn: dial(t, addr)}
		c := tls.Client(wire, clientTLS())
		require.NoError(t, c.Handshake())
		wire.hold = true
		_, err := io.WriteString(c, "late")
		require.NoError(t, err)
		_, err = wire.Conn.Write(wire.kept[:7]) // the header of the record, and the beginning of its content
		require.NoError(t, err)
		requireTimeout(t, receive(t, timedOut))
		_, err = wire.Conn.Write(wire.kept[7:])
		require.NoError(t, err)
		require.Equal(t, "late", receive(t, got))
	})
	t.Run("write", func(t *testing.T) {
		content := randomBytes(6, 16<<20)
		over := make(chan error, 1)
		addr := start(t, &coserver.Server{Carrier: coserver.Channel, TLSConfig: serverTLS(), Handler: func(c *coserver.Conn) error {
			if err := c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
				return err
			}
			n, err := c.Write(content)
			over <- err
			if err := c.SetWriteDeadline(time.Time{}); err != nil {
				return err
			}
			_, err = c.Write(content[n:])
			return err
		}}, "tcp")
		c := dialTLS(t, addr, clientTLS())
		requireTimeout(t, receive(t, over))
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		require.True(t, bytes.Equal(content, got))
	})
}

// A connection turns to TLS in mid-stream, at both ends ours, and what came before is not mixed with what comes after.
func TestStartTLS(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			if line, err := c.ReadSlice('\n'); err != nil || string(line) != "STARTTLS\n" {
				return errors.Join(err, errTest)
			}
			if _, err := io.WriteString(c, "go ahead\n"); err != nil {
				return err
			}
			if err := c.StartTLS(serverTLS()); err != nil {
				return err
			}
			return echoNext(c)
		}}, "tcp")
		raw, err := coserver.Dial("tcp", addr.String())
		require.NoError(t, err)
		c := raw.(*coserver.Conn)
		defer c.Close()
		_, err = io.WriteString(c, "STARTTLS\n")
		require.NoError(t, err)
		line, err := c.ReadSlice('\n')
		require.NoError(t, err)
		require.Equal(t, "go ahead\n", string(line))
		require.NoError(t, c.StartTLS(clientTLS()))
		require.NotNil(t, c.TLS())
		exchange(t, c, "encrypted")
		_, err = c.Writev([][]byte{[]byte("in "), []byte("pieces")})
		require.NoError(t, err)
		_, err = c.ReadFrom(strings.NewReader(" and more"))
		require.NoError(t, err)
		answer := make([]byte, len("in pieces and more"))
		_, err = c.ReadFull(answer)
		require.NoError(t, err)
		require.Equal(t, "in pieces and more", string(answer))
		require.Error(t, c.StartTLS(clientTLS()), "twice")
	})
}

// The first byte tells whether a client speaks TLS; what has been peeked at belongs to the handshake.
func TestStartTLSAfterPeek(t *testing.T) {
	addr := start(t, &coserver.Server{Handler: func(c *coserver.Conn) error {
		first, err := c.Peek(1)
		if err == nil && first[0] == 22 { // handshake (RFC 8446, 5.1)
			err = c.StartTLS(serverTLS())
		}
		if err != nil {
			return err
		}
		return echoNext(c)
	}}, "tcp")
	exchange(t, dialTLS(t, addr, clientTLS()), "with")
	exchange(t, dial(t, addr), "without")
}

// What is sent in plain text behind STARTTLS never reaches the handler as if it had been encrypted (CVE-2011-0411).
func TestStartTLSInjection(t *testing.T) {
	read := make(chan error, 1)
	addr := start(t, &coserver.Server{Handler: func(c *coserver.Conn) error {
		if _, err := c.ReadSlice('\n'); err != nil {
			return err
		}
		err := c.StartTLS(serverTLS())
		read <- err
		return nil
	}}, "tcp")
	c := dial(t, addr)
	_, err := io.WriteString(c, "STARTTLS\nRCPT TO:<victim>\n")
	require.NoError(t, err)
	require.Error(t, receive(t, read))
}

// Close and Shutdown end the stream in TLS's own way, so that the client can tell it from a cut.
func TestTLSCloseNotify(t *testing.T) {
	s := &coserver.Server{Handler: echoNext, TLSConfig: serverTLS()}
	addr := start(t, s, "tcp")
	idle := &recorder{Conn: dial(t, addr)}
	c := tls.Client(idle, clientTLS())
	exchange(t, c, "then idle")
	before := len(idle.got)
	require.NoError(t, s.Shutdown(context.Background()))
	expectEOF(t, c)
	require.Greater(t, len(idle.got), before, "an alert came before the end")

	closing := &coserver.Server{TLSConfig: serverTLS(), Handler: func(c *coserver.Conn) error {
		_, err := io.WriteString(c, "bye")
		return err
	}}
	answer, err := io.ReadAll(dialTLS(t, start(t, closing, "tcp"), clientTLS()))
	require.NoError(t, err)
	require.Equal(t, "bye", string(answer))
}

type recorder struct {
	net.Conn
	got []byte
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.got = append(r.got, p[:n]...)
	return n, err
}

// faults.md F10: crypto/tls over our Conn as over that of net, both ways at once.
func TestTLSBothWays(t *testing.T) {
	content := randomBytes(7, 4<<20)
	bothWays := func(c interface {
		net.Conn
		CloseWrite() error
	}) error {
		wrote := make(chan error, 1)
		go func() {
			_, err := c.Write(content)
			wrote <- errors.Join(err, c.CloseWrite())
		}()
		got, err := io.ReadAll(c)
		if err == nil && !bytes.Equal(content, got) {
			err = errTest
		}
		return errors.Join(err, <-wrote)
	}
	served := make(chan error, 1)
	addr := start(t, &coserver.Server{Carrier: coserver.Channel, TLSConfig: serverTLS(), Handler: func(c *coserver.Conn) error {
		err := bothWays(c)
		served <- err
		return err
	}}, "tcp")
	require.NoError(t, bothWays(dialTLS(t, addr, clientTLS())))
	require.NoError(t, receive(t, served))
}

// Over TLS, crypto/tls itself fails three cases of nettest: a write that has timed out spoils its connection. Ours fails none.
func TestNettestOfTLS(t *testing.T) {
	leak.Check(t)
	ln, err := coserver.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		if c1, err = coserver.Dial("tcp", ln.Addr().String()); err != nil {
			return nil, nil, nil, err
		}
		if c2, err = ln.Accept(); err != nil {
			return nil, nil, nil, err
		}
		client := make(chan error, 1)
		go func() { client <- c1.(*coserver.Conn).StartTLS(clientTLS()) }()
		err = errors.Join(c2.(*coserver.Conn).StartTLS(serverTLS()), <-client)
		return c1, c2, func() {
			c1.Close()
			c2.Close()
		}, err
	})
}
