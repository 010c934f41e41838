package coserver

import (
	"errors"
	"fmt"
	"time"
)

// Overflow says what becomes of clients that come while a server has its MaxConns.
type Overflow uint8

const (
	// Backlog lets accepting rest: clients wait in the kernel until a connection ends.
	Backlog Overflow = iota
	// Refuse resets their connections at once.
	Refuse
)

// String returns the name of the constant.
func (o Overflow) String() string {
	switch o {
	case Backlog:
		return "Backlog"
	case Refuse:
		return "Refuse"
	}
	return fmt.Sprintf("Overflow(%d)", uint8(o))
}

// validateLimits returns an error for each field that is wrong.
func (s *Server) validateLimits() (errs []error) {
	for _, field := range []struct {
		name  string
		value int
	}{
		{"MaxConns", s.MaxConns}, {"MaxConnsPerIP", s.MaxConnsPerIP}, {"AcceptRate", s.AcceptRate}, {"AcceptBurst", s.AcceptBurst},
		{"MaxHandshakes", s.MaxHandshakes}, {"DrainRate", s.DrainRate},
	} {
		if field.value < 0 {
			errs = append(errs, fmt.Errorf("coserver: Server.%s is %d, want 0 or more", field.name, field.value))
		}
	}
	for _, field := range []struct {
		name  string
		value time.Duration
	}{{"IdleTimeout", s.IdleTimeout}, {"ReadTimeout", s.ReadTimeout}, {"WriteTimeout", s.WriteTimeout}} {
		if field.value < 0 {
			errs = append(errs, fmt.Errorf("coserver: Server.%s is %v, want 0 or more", field.name, field.value))
		}
	}
	if s.Overflow > Refuse {
		errs = append(errs, fmt.Errorf("coserver: Server.Overflow is %d, want Backlog or Refuse", s.Overflow))
	}
	if s.AcceptRate > maxAcceptRate {
		errs = append(errs, fmt.Errorf("coserver: Server.AcceptRate is %d, want up to %d", s.AcceptRate, maxAcceptRate))
	}
	if s.AcceptBurst > maxAcceptRate {
		errs = append(errs, fmt.Errorf("coserver: Server.AcceptBurst is %d, want up to %d", s.AcceptBurst, maxAcceptRate))
	}
	if s.AcceptBurst > 0 && s.AcceptRate == 0 {
		errs = append(errs, errors.New("coserver: Server.AcceptBurst is set, and Server.AcceptRate is not"))
	}
	return errs
}
