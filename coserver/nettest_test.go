package coserver_test

import (
	"net"
	"testing"

	"golang.org/x/net/nettest"
)

// faults.md F1: the conformance suite of net.Conn.
func TestNettest(t *testing.T) {
	for _, network := range networks {
		for _, subject := range subjects {
			t.Run(network+"/"+subject.name, func(t *testing.T) {
				open := subject.open(t, network)
				nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
					p := open()
					return p.peer, p.subject, p.stop, nil
				})
			})
		}
	}
}
