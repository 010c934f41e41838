package load

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
)

// TLS says how it is spoken. The zero value checks the server's certificate as a browser would.
type TLS struct {
	Insecure bool     // accept any certificate
	CA       string   // file with the certificates, in PEM, of those whose signatures are accepted; empty means the system's
	Name     string   // that the certificate must be for, and that the server is told (SNI); empty means the host of Addr
	ALPN     []string // application protocols that are offered (RFC 7301), one of which the server must then choose; none by default
}

// validate is for options with their defaults.
func (t *TLS) validate(o *Options) error {
	switch {
	case t == nil:
		return nil
	case t.Insecure && t.CA != "":
		return errors.New("tls-ca: it is not looked at if any certificate is accepted")
	case o.Network == "unix" && t.Name == "" && !t.Insecure:
		return errors.New("tls-name: a unix socket has no name that a certificate could be for")
	}
	for _, name := range t.ALPN {
		if name == "" || len(name) > 255 {
			return fmt.Errorf("alpn: %.300q is no protocol: it has 1 to 255 bytes", name)
		}
	}
	return nil
}

// config is what all connections have in common.
func (t *TLS) config(o *Options) (*tls.Config, error) {
	config := &tls.Config{
		ServerName:         t.Name,
		InsecureSkipVerify: t.Insecure,
		NextProtos:         t.ALPN,
		// A record is sent for each piece of plain text, and no shorter ones at first: see session.
		DynamicRecordSizingDisabled: true,
	}
	if config.ServerName == "" && o.Network == "tcp" {
		host, _, err := net.SplitHostPort(o.Addr)
		if err != nil {
			return nil, fmt.Errorf("addr: %w", err)
		}
		host, _, _ = strings.Cut(host, "%") // a zone is this machine's alone
		config.ServerName = host
	}
	if t.CA == "" {
		return config, nil
	}
	pem, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, fmt.Errorf("tls-ca: %w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tls-ca: %s: there is no certificate in PEM", t.CA)
	}
	return config, nil
}
