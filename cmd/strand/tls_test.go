//go:build unix

package main_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// certificate writes one and its key to files, and returns the flags that name them and a client's configuration.
func certificate(t *testing.T) (flags []string, client *tls.Config) {
	t.Helper()
	test := httptest.NewTLSServer(nil) // which has one
	defer test.Close()
	pair := test.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	require.NoError(t, err)
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{
		"cert": {Type: "CERTIFICATE", Bytes: pair.Certificate[0]},
		"key":  {Type: "PRIVATE KEY", Bytes: key},
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(block), 0o600))
		flags = append(flags, "--tls-"+name, path)
	}
	roots := x509.NewCertPool()
	roots.AddCert(test.Certificate())
	return flags, &tls.Config{RootCAs: roots, ServerName: "example.com"}
}

func TestServeTLS(t *testing.T) {
	flags, config := certificate(t)
	for _, engine := range []string{"net", "coserver"} {
		t.Run(engine, func(t *testing.T) {
			s := serve(t, nil, append(flags, "--engine", engine)...)
			conn, err := tls.Dial("tcp", s.addr, config)
			require.NoError(t, err)
			defer conn.Close()
			s.exchange(t, conn)
			require.NoError(t, conn.Close())
			require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
			s.requireEnd(t)
		})
		t.Run(engine+" http", func(t *testing.T) {
			s := serve(t, nil, append(flags, "--engine", engine, "--proto", "http")...)
			transport := &http.Transport{TLSClientConfig: config.Clone(), ForceAttemptHTTP2: true}
			response, err := (&http.Client{Transport: transport}).Get("https://" + s.addr + "/")
			require.NoError(t, err)
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.Equal(t, "hello, world\n", string(body))
			require.Equal(t, "HTTP/2.0", response.Proto)
			transport.CloseIdleConnections()
			require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
			s.requireEnd(t)
		})
	}
	requireUsage(t, run(t, exec.Command(strand, append([]string{"serve", "--engine", "loop"}, flags...)...)), "serve: tls: engine loop has none")
}
