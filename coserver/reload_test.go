package coserver_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// Whoever is connected keeps the handler that it has; whoever comes later gets the new one.
func TestSetHandler(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		answer := func(text string) func(*coserver.Conn) error {
			return func(c *coserver.Conn) error {
				for {
					if _, err := c.Next(); err != nil {
						return err
					}
					if _, err := c.Write([]byte(text)); err != nil {
						return err
					}
				}
			}
		}
		s := &coserver.Server{Carrier: carrier}
		require.Error(t, s.SetHandler(nil))
		require.NoError(t, s.SetHandler(answer("one"))) // in place of the field
		addr := start(t, s, "tcp")
		ask := func(c interface {
			Read([]byte) (int, error)
			Write([]byte) (int, error)
		}) string {
			_, err := c.Write([]byte("?"))
			require.NoError(t, err)
			answer := make([]byte, 10)
			n, err := c.Read(answer)
			require.NoError(t, err)
			return string(answer[:n])
		}
		old := dial(t, addr)
		require.Equal(t, "one", ask(old))
		require.NoError(t, s.SetHandler(answer("two")))
		require.Equal(t, "two", ask(dial(t, addr)))
		require.Equal(t, "one", ask(old))
	})
}

// certificate returns one for strand.test with the given serial number, that nobody else has signed.
func certificate(t *testing.T, serial int64) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), DNSNames: []string{"strand.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// A renewed certificate is that of the next handshake, and nobody's connection ends.
func TestSetTLSConfig(t *testing.T) {
	s := &coserver.Server{Handler: echoNext, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate(t, 1)}}}
	addr := start(t, s, "tcp")
	connect := func(serial int64) *tls.Conn {
		c := dialTLS(t, addr, &tls.Config{InsecureSkipVerify: true})
		require.EqualValues(t, serial, c.ConnectionState().PeerCertificates[0].SerialNumber.Int64())
		exchange(t, c, "encrypted")
		return c
	}
	old := connect(1)
	require.ErrorContains(t, s.SetTLSConfig(nil), "certificate")
	require.ErrorContains(t, s.SetTLSConfig(new(tls.Config)), "certificate")
	connect(1)
	require.NoError(t, s.SetTLSConfig(&tls.Config{Certificates: []tls.Certificate{certificate(t, 2)}}))
	connect(2)
	exchange(t, old, "goes on")
	require.ErrorContains(t, (&coserver.Server{Handler: echoNext}).SetTLSConfig(serverTLS()), "Server.TLSConfig")
}
