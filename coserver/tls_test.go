package coserver_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// faults.md F10: TLS runs over a connection unchanged, in its handler too: much data both ways at once, an answer to a client
// that has sent its close_notify, and a close_notify that arrives before the end.
func TestTLS(t *testing.T) {
	server, client := certificate(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			server.MaxVersion = version
			onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
				config := server.Clone()
				addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
					return echoTLS(tls.Server(c, config))
				}}, "tcp")
				testTLS(t, dial(t, addr), client)
			})
			t.Run("accepted", func(t *testing.T) {
				ln, err := coserver.Listen("tcp", "127.0.0.1:0")
				require.NoError(t, err)
				defer ln.Close()
				conn := dial(t, ln.Addr())
				c, err := ln.Accept()
				require.NoError(t, err)
				served := make(chan error, 1)
				go func() { served <- echoTLS(tls.Server(c, server.Clone())) }()
				testTLS(t, conn, client)
				require.NoError(t, receive(t, served))
			})
		})
	}
}

// echoTLS sends everything back, and after the client's close_notify how much that was and its own.
func echoTLS(c *tls.Conn) error {
	n, err := io.Copy(struct{ io.Writer }{c}, c)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(c, big.NewInt(n).String()); err != nil {
		return err
	}
	return c.Close()
}

func testTLS(t *testing.T, conn net.Conn, config *tls.Config) {
	t.Helper()
	c := tls.Client(conn, config)
	data := make([]byte, 4<<20)
	rand.Read(data)
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(data)
		if err == nil {
			err = c.CloseWrite()
		}
		sent <- err
	}()
	back, err := io.ReadAll(c) // an end without close_notify would be io.ErrUnexpectedEOF
	require.NoError(t, err)
	require.NoError(t, receive(t, sent))
	require.True(t, bytes.HasPrefix(back, data), "%d bytes came back of %d", len(back), len(data))
	require.Equal(t, big.NewInt(int64(len(data))).String(), string(back[len(data):]))
	require.NoError(t, c.Close())
}

// certificate makes one that only the configuration returned for clients trusts.
func certificate(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"strand"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	trusted := x509.NewCertPool()
	trusted.AddCert(parsed)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		&tls.Config{RootCAs: trusted, ServerName: "strand"}
}
