//go:build unix

package main_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// renew writes a certificate of that number, and its key, to where flags say.
func renew(t *testing.T, flags []string, number int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(number), DNSNames: []string{"example.com"}, NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	for i := 0; i < len(flags); i += 2 {
		block := &pem.Block{Type: "CERTIFICATE", Bytes: certificate}
		if flags[i] == "--tls-key" {
			block = &pem.Block{Type: "PRIVATE KEY", Bytes: private}
		}
		require.NoError(t, os.WriteFile(flags[i+1], pem.EncodeToMemory(block), 0o600))
	}
}

// A reload brings a renewed certificate to new connections, and leaves alone those that have the old one. One that cannot be read
// changes nothing.
func TestReloadRenewsTheCertificate(t *testing.T) {
	for _, args := range [][]string{{"--engine", "net"}, {"--engine", "coserver"}, {"--procs", "2"}} {
		t.Run(args[1], func(t *testing.T) {
			flags, _ := certificate(t)
			renew(t, flags, 1)
			r := serveReloadable(t, append(append(flags, args...), "--drain", "1h")...)
			connect := func() (conn *tls.Conn, number int64) {
				conn, err := tls.Dial("tcp", r.addr, &tls.Config{InsecureSkipVerify: true})
				require.NoError(t, err)
				exchange(t, conn)
				return conn, conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
			}
			before, number := connect()
			defer before.Close()
			require.EqualValues(t, 1, number)

			require.NoError(t, os.WriteFile(flags[1], []byte("nonsense"), 0o600))
			require.NoError(t, syscall.Kill(r.pid, syscall.SIGHUP))
			require.Eventually(t, func() bool { return notReloaded.MatchString(r.String()) }, patience, time.Millisecond, "%v", r)
			exchange(t, before)

			renew(t, flags, 2)
			if args[0] == "--procs" {
				r.reloadWorkers(t, 2)
			} else {
				r.reload(t, syscall.SIGHUP)
			}
			require.Eventually(t, func() bool { // of several processes, the last that is replaced may serve it yet
				after, number := connect()
				return after.Close() == nil && number == 2
			}, patience, time.Millisecond)
			exchange(t, before)
			require.NoError(t, before.Close())
			r.end(t, "strand: serve: tls: ", "strand: serve: not reloaded: ")
		})
	}
}
