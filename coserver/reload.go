package coserver

import (
	"crypto/tls"
	"errors"
)

// SetHandler replaces Handler for the connections whose handler begins from now on; those that are being served go on with theirs. It
// is how a program takes on a new configuration without closing anything. It lasts until the next SetHandler, also when the server
// is started again. Safe from any goroutine. It fails if handler is nil.
func (s *Server) SetHandler(handler func(*Conn) error) error {
	if handler == nil {
		return errors.New("coserver: SetHandler: handler is nil")
	}
	s.handler.Store(&handler)
	return nil
}

// SetTLSConfig replaces TLSConfig for the handshakes that begin from now on, as when a certificate has been renewed. It lasts until the
// next SetTLSConfig, also when the server is started again. Safe from any goroutine. It fails if config has no certificate, or if the
// server has no TLSConfig: one that speaks plain text goes on doing so.
func (s *Server) SetTLSConfig(config *tls.Config) error {
	if s.TLSConfig == nil {
		return errors.New("coserver: SetTLSConfig: Server.TLSConfig is nil")
	}
	if config == nil || !hasCertificate(config) {
		return errors.New("coserver: SetTLSConfig: config has no certificate")
	}
	s.tlsConfig.Store(config)
	return nil
}

func (s *Server) currentHandler() func(*Conn) error {
	if handler := s.handler.Load(); handler != nil {
		return *handler
	}
	return s.Handler
}

func (s *Server) currentTLSConfig() *tls.Config {
	if config := s.tlsConfig.Load(); config != nil {
		return config
	}
	return s.TLSConfig
}
