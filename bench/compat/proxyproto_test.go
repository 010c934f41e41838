package compat_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

// proxyService tells each connection who its client is, and then sends back whatever comes.
type proxyService struct {
	policy  proxyproto.ConnPolicyFunc
	timeout time.Duration
	tls     *tls.Config

	begun  chan net.Addr // who has been served
	failed chan error    // what kept others from it, if it is a handler's
}

func newProxyService(t *testing.T, trusted ...string) *proxyService {
	policy, err := trust(trusted...)
	require.NoError(t, err)
	return &proxyService{policy: policy, timeout: patience, begun: make(chan net.Addr, 1000), failed: make(chan error, 1000)}
}

func (p *proxyService) serve(c net.Conn, client net.Addr) error {
	if _, err := fmt.Fprintln(c, client); err != nil {
		return err
	}
	p.begun <- client
	_, err := io.Copy(c, c)
	return err
}

// expectRefusal wants c ended without a word and unserved. A handler has failed with an error that reason is about.
func (p *proxyService) expectRefusal(t *testing.T, c net.Conn, handler bool, reason error) {
	t.Helper()
	n, err := c.Read(make([]byte, 100))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Zero(t, n)
	require.Empty(t, p.begun)
	if handler {
		require.ErrorIs(t, receive(t, p.failed), reason)
	}
}

// proxySubject is a way to serve those behind a proxy.
type proxySubject struct {
	name    string
	handler bool // it is a handler of a coserver.Server, and not a proxyproto.Listener
	start   func(t *testing.T, p *proxyService) (address string)
}

func proxySubjects() []proxySubject {
	var all []proxySubject
	for _, s := range subjects {
		all = append(all, proxySubject{"listener on " + s.name, false, func(t *testing.T, p *proxyService) string {
			return p.startListener(t, s.side(t).ln)
		}})
	}
	for _, carrier := range []coserver.Carrier{coserver.Inline, coserver.Channel} {
		all = append(all, proxySubject{"handler, " + carrier.String(), true, func(t *testing.T, p *proxyService) string {
			return p.startHandler(t, carrier)
		}})
	}
	return all
}

func onEachProxySubject(t *testing.T, test func(t *testing.T, s proxySubject)) {
	for _, s := range proxySubjects() {
		t.Run(s.name, func(t *testing.T) {
			leak.Check(t)
			test(t, s)
		})
	}
}

func (p *proxyService) startListener(t *testing.T, inner net.Listener) string {
	ln := net.Listener(&proxyproto.Listener{Listener: inner, ConnPolicy: p.policy, ReadHeaderTimeout: p.timeout})
	if p.tls != nil {
		ln = tls.NewListener(ln, p.tls)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				_ = p.serve(c, c.RemoteAddr()) // the client sees what became of it
				c.Close()
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		all.Wait()
	})
	return ln.Addr().String()
}

func (p *proxyService) startHandler(t *testing.T, carrier coserver.Carrier) string {
	server := &coserver.Server{
		Carrier: carrier,
		Handler: behindProxy(p.policy, p.timeout, func(c *coserver.Conn, client net.Addr) error {
			if p.tls != nil {
				if err := c.StartTLS(p.tls); err != nil {
					return err
				}
			}
			return p.serve(c, client)
		}),
		OnError: func(_ *coserver.Conn, err error) { p.failed <- err },
	}
	ln, err := server.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
	})
	return ln.Addr().String()
}

// connectFrom opens a connection from one of this machine's own addresses.
func connectFrom(t *testing.T, from, address string) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := dialer.DialContext(t.Context(), "tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	return c
}

func send(t *testing.T, c net.Conn, data string) {
	t.Helper()
	_, err := io.WriteString(c, data)
	require.NoError(t, err)
}

// expectRest ends the input, and wants this and then the end of the output.
func expectRest(t *testing.T, c net.Conn, want string) {
	t.Helper()
	require.NoError(t, c.(interface{ CloseWrite() error }).CloseWrite())
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, want, string(got))
}

// expectLine wants one line, and takes no more.
func expectLine(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want)+1)
	_, err := io.ReadFull(c, got)
	require.NoError(t, err)
	require.Equal(t, want+"\n", string(got))
}

// version2 is a header as proxy-protocol.txt, 2.2, has it.
func version2(command, family byte, rest string) string {
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), command, family)
	return string(binary.BigEndian.AppendUint16(b, uint16(len(rest)))) + rest
}

const (
	byProxy, byItself       = 0x21, 0x20 // commands PROXY and LOCAL
	unspecified, tcp4, tcp6 = 0x00, 0x11, 0x21
)

// addresses are those of a header of version 2.
func addresses(from, to string, fromPort, toPort uint16) string {
	b := append(netip.MustParseAddr(from).AsSlice(), netip.MustParseAddr(to).AsSlice()...)
	return string(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, fromPort), toPort))
}

// addition is one field beside the addresses: type, length and value (proxy-protocol.txt, 2.2).
func addition(kind byte, value string) string {
	return string(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value)))) + value
}

var (
	addresses4 = addresses("192.0.2.1", "198.51.100.1", 40000, 443)
	addresses6 = addresses("2001:db8::1", "2001:db8::2", 65535, 1)
)

var proxyHeaders = []struct {
	name, header, client string // no client: whoever has connected
}{
	{"v1 TCP4", "PROXY TCP4 192.0.2.1 198.51.100.1 40000 443\r\n", "192.0.2.1:40000"},
	{"v1 TCP6", "PROXY TCP6 2001:db8::1 2001:db8::2 65535 1\r\n", "[2001:db8::1]:65535"},
	{"v1 UNKNOWN", "PROXY UNKNOWN\r\n", ""},
	{"v1 UNKNOWN, as long as it may be", "PROXY UNKNOWN " + strings.Repeat("ffff:", 7) + "ffff " + strings.Repeat("ffff:", 7) + "ffff 65535 65535\r\n", ""},
	{"v2 TCP4", version2(byProxy, tcp4, addresses4), "192.0.2.1:40000"},
	{"v2 TCP6", version2(byProxy, tcp6, addresses6), "[2001:db8::1]:65535"},
	{"v2 TCP4 and more", version2(byProxy, tcp4, addresses4+addition(0x01, "h2")+addition(0xe0, strings.Repeat("x", 4000))), "192.0.2.1:40000"},
	{"v2 LOCAL", version2(byItself, unspecified, ""), ""},
	{"v2 LOCAL with addresses", version2(byItself, tcp4, addresses4), ""},
	{"v2 LOCAL and more", version2(byItself, unspecified, addition(0x04, strings.Repeat("\n", 300))), ""},
}

func (s proxySubject) expectClient(t *testing.T, c net.Conn, client string) {
	t.Helper()
	if client == "" {
		client = c.LocalAddr().String()
	}
	expectLine(t, c, client)
}

// Each header names its client, and what follows it in the same segment is the first input of the service.
func TestProxyHeaders(t *testing.T) {
	onEachProxySubject(t, func(t *testing.T, s proxySubject) {
		address := s.start(t, newProxyService(t, "127.0.0.1"))
		for _, h := range proxyHeaders {
			t.Run(h.name, func(t *testing.T) {
				require.LessOrEqual(t, len(h.header), 16+4096)
				c := connectFrom(t, "127.0.0.1", address)
				send(t, c, h.header+"with the header\r\n")
				s.expectClient(t, c, h.client)
				send(t, c, "PROXY TCP4 192.0.2.9 198.51.100.9 9 9\r\n") // is data, the second time
				expectRest(t, c, "with the header\r\nPROXY TCP4 192.0.2.9 198.51.100.9 9 9\r\n")

				c = connectFrom(t, "127.0.0.1", address)
				send(t, c, h.header)
				s.expectClient(t, c, h.client) // the server may speak first
				expectRest(t, c, "")
			})
		}
	})
}

// A header may come byte by byte, and whoever is slow holds up nobody else. Of proxyproto.Listener it must be one of version 2.
func TestProxyHeadersInPieces(t *testing.T) {
	onEachProxySubject(t, func(t *testing.T, s proxySubject) {
		p := newProxyService(t, "127.0.0.1")
		address := s.start(t, p)
		const beginning = "PROXY TCP4 1"
		slow := connectFrom(t, "127.0.0.1", address)
		send(t, slow, beginning)
		if !s.handler {
			p.expectRefusal(t, slow, s.handler, nil)
		}
		for _, h := range proxyHeaders {
			if !s.handler && strings.HasPrefix(h.name, "v1") {
				continue
			}
			t.Run(h.name, func(t *testing.T) {
				c := connectFrom(t, "127.0.0.1", address)
				data := h.header + "data"
				for i := range data {
					send(t, c, data[i:i+1])
				}
				s.expectClient(t, c, h.client)
				expectRest(t, c, "data")
			})
		}
		if s.handler {
			send(t, slow, strings.TrimPrefix(proxyHeaders[0].header, beginning)+"and more")
			s.expectClient(t, slow, proxyHeaders[0].client)
			expectRest(t, slow, "and more")
		}
	})
}

// What is no header, or a wrong one, ends its connection before it is served.
func TestProxyHeadersThatAreWrong(t *testing.T) {
	for _, h := range []struct {
		name, sent string
		reason     error
	}{
		{"none", "GET / HTTP/1.1\r\n\r\n", proxyproto.ErrNoProxyProtocol},
		{"none, but one letter", "POST / HTTP/1.1\r\n\r\n", proxyproto.ErrNoProxyProtocol},
		{"none, but one byte", "\r\n\r\n and so on, for a while\r\n", proxyproto.ErrNoProxyProtocol},
		{"v1 without an end", "PROXY TCP4 " + strings.Repeat("1", 1000), proxyproto.ErrVersion1HeaderTooLong},
		{"v1 without \\r", "PROXY TCP4 192.0.2.1 198.51.100.1 40000 443\n", proxyproto.ErrLineMustEndWithCrlf},
		{"v1 of UDP", "PROXY UDP4 192.0.2.1 198.51.100.1 40000 443\r\n", proxyproto.ErrCantReadAddressFamilyAndProtocol},
		{"v1 of the other family", "PROXY TCP4 2001:db8::1 2001:db8::2 40000 443\r\n", proxyproto.ErrInvalidAddress},
		{"v1 of no port", "PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n", proxyproto.ErrInvalidPortNumber},
		{"v2 of a later version", version2(0x31, tcp4, addresses4), proxyproto.ErrUnsupportedProtocolVersionAndCommand},
		{"v2 of no family", version2(byProxy, unspecified, ""), proxyproto.ErrUnsupportedAddressFamilyAndProtocol},
		{"v2 too short", version2(byProxy, tcp4, addresses4[1:]), proxyproto.ErrInvalidLength},
		{"v2 too long", version2(byProxy, tcp4, strings.Repeat("x", 4097)), proxyproto.ErrInvalidLength},
	} {
		t.Run(h.name, func(t *testing.T) {
			onEachProxySubject(t, func(t *testing.T, s proxySubject) {
				p := newProxyService(t, "127.0.0.1")
				c := connectFrom(t, "127.0.0.1", s.start(t, p))
				send(t, c, h.sent)
				p.expectRefusal(t, c, s.handler, h.reason)
			})
		})
	}
}

// An end in mid-header is an error, and one before it none.
func TestProxyHeadersThatEnd(t *testing.T) {
	onEachProxySubject(t, func(t *testing.T, s proxySubject) {
		p := newProxyService(t, "127.0.0.1")
		address := s.start(t, p)
		c := connectFrom(t, "127.0.0.1", address)
		expectRest(t, c, "")
		for _, beginning := range []string{proxyHeaders[0].header[:3], proxyHeaders[4].header[:15], proxyHeaders[4].header[:20]} {
			c := connectFrom(t, "127.0.0.1", address)
			send(t, c, beginning)
			require.NoError(t, c.(*net.TCPConn).CloseWrite())
			p.expectRefusal(t, c, s.handler, io.ErrUnexpectedEOF)
		}
		require.Empty(t, p.failed)
	})
}

// A header that does not come, or not whole, ends its connection when the time is over; whoever has sent one in time has all the time
// of the world.
func TestProxyHeadersThatNeverCome(t *testing.T) {
	leak.Check(t)
	for _, s := range proxySubjects() { // together: they wait
		p := newProxyService(t, "127.0.0.1")
		p.timeout = time.Second
		address := s.start(t, p)
		early := connectFrom(t, "127.0.0.1", address)
		send(t, early, proxyHeaders[4].header)
		s.expectClient(t, early, proxyHeaders[4].client)
		<-p.begun
		silent, half := connectFrom(t, "127.0.0.1", address), connectFrom(t, "127.0.0.1", address)
		send(t, half, proxyHeaders[4].header[:20])
		t.Cleanup(func() {
			p.expectRefusal(t, silent, s.handler, os.ErrDeadlineExceeded)
			p.expectRefusal(t, half, s.handler, os.ErrDeadlineExceeded)
			send(t, early, "still here")
			expectRest(t, early, "still here")
		})
	}
}

// Whoever is not trusted is refused, with a header and without one, and harms nobody who is.
func TestProxyHeadersOfStrangers(t *testing.T) {
	onEachProxySubject(t, func(t *testing.T, s proxySubject) {
		p := newProxyService(t, "192.0.2.0/24", "127.0.0.2/31", "::1")
		address := s.start(t, p)
		for _, h := range proxyHeaders {
			for _, sent := range []string{"", h.header, "GET / HTTP/1.1\r\n\r\n"} {
				c := connectFrom(t, "127.0.0.1", address)
				_, _ = io.WriteString(c, sent) // it may be cut already
				p.expectRefusal(t, c, s.handler, proxyproto.ErrInvalidUpstream)
			}
			for _, from := range []string{"127.0.0.2", "127.0.0.3"} {
				c := connectFrom(t, from, address)
				send(t, c, h.header)
				s.expectClient(t, c, h.client)
				expectRest(t, c, "")
				<-p.begun
			}
		}
	})
}

// A policy may be milder with strangers: their header is dropped, or refused, or is not one at all. None of it is believed.
func TestProxyPolicies(t *testing.T) {
	header := proxyHeaders[0].header
	onEachProxySubject(t, func(t *testing.T, s proxySubject) {
		for policy, answers := range map[proxyproto.Policy]struct{ header, none string }{
			proxyproto.IGNORE: {"", "hello\r\n"},
			proxyproto.SKIP:   {header, "hello\r\n"},
			proxyproto.REJECT: {"refused", "hello\r\n"},
		} {
			p := newProxyService(t)
			p.policy = proxyproto.MustPolicyFromRanges([]string{"127.0.0.2"}, proxyproto.REQUIRE, policy)
			address := s.start(t, p)
			c := connectFrom(t, "127.0.0.2", address)
			send(t, c, header)
			s.expectClient(t, c, proxyHeaders[0].client)
			expectRest(t, c, "")
			<-p.begun

			c = connectFrom(t, "127.0.0.1", address)
			send(t, c, header)
			if answers.header == "refused" {
				p.expectRefusal(t, c, s.handler, proxyproto.ErrSuperfluousProxyHeader)
			} else {
				s.expectClient(t, c, "")
				expectRest(t, c, answers.header)
			}
			c = connectFrom(t, "127.0.0.1", address)
			send(t, c, "hello\r\n")
			s.expectClient(t, c, "")
			expectRest(t, c, answers.none)
		}
	})
}

// prefixed sends something before the first write, in one segment with it.
type prefixed struct {
	net.Conn
	before string
}

func (c *prefixed) Write(p []byte) (int, error) {
	if c.before == "" {
		return c.Conn.Write(p)
	}
	before := len(c.before)
	n, err := c.Conn.Write(append([]byte(c.before), p...))
	c.before = ""
	return max(0, n-before), err
}

// The handshake may begin in the segment of the header.
func TestProxyHeadersBeforeTLS(t *testing.T) {
	server, client := tlsConfigs(t)
	client.ServerName = "127.0.0.1"
	onEachProxySubject(t, func(t *testing.T, s proxySubject) {
		p := newProxyService(t, "127.0.0.1")
		p.tls = server
		address := s.start(t, p)
		for _, h := range proxyHeaders {
			t.Run(h.name, func(t *testing.T) {
				c := tls.Client(&prefixed{connectFrom(t, "127.0.0.1", address), h.header}, client)
				send(t, c, "encrypted")
				s.expectClient(t, c, h.client)
				expectRest(t, c, "encrypted")
			})
		}
	})
}

// net/http sees the clients, not the proxy, also with HTTP/2, on connections that are kept, and where others never send a header; and
// large bodies come whole.
func TestProxyHeadersAndHTTP(t *testing.T) {
	server, client := tlsConfigs(t)
	for name, serve := range map[string]func(*http.Server, net.Listener) error{
		"http":  (*http.Server).Serve,
		"https": func(s *http.Server, ln net.Listener) error { return s.ServeTLS(ln, "", "") },
	} {
		t.Run(name, func(t *testing.T) {
			onEachSubject(t, func(t *testing.T, s side) {
				policy, err := trust("127.0.0.1")
				require.NoError(t, err)
				plain := s.dial
				s.ln = &proxyproto.Listener{Listener: s.ln, ConnPolicy: policy, ReadHeaderTimeout: patience}
				mux := testMux()
				mux.HandleFunc("/client", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.RemoteAddr+" "+r.Proto) })
				h := newHTTPServer(s, &http.Server{Handler: mux, TLSConfig: server})
				h.start(t, func(ln net.Listener) error { return serve(h.Server, ln) })
				config, protocol := client, "HTTP/2.0"
				if name == "http" {
					config, protocol = nil, "HTTP/1.1"
				}
				for range 3 {
					s.connect(t) // and says nothing
				}
				together(t, len(proxyHeaders), func(i int) error {
					header := proxyHeaders[i]
					behind := s
					behind.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
						c, err := plain(ctx, network, address)
						return &prefixed{c, header.header}, err
					}
					c := behind.client(t, config.Clone())
					for range 20 {
						response, err := c.Get(name + "://" + s.addr() + "/client")
						got, err := answer(response, err, http.StatusOK)
						if err != nil || !strings.HasPrefix(got, cmp.Or(header.client, "127.0.0.1:")) || !strings.HasSuffix(got, " "+protocol) {
							return fmt.Errorf("%s: got %q, want %s %s, %v", header.name, got, header.client, protocol, err)
						}
					}
					return nil
				})
				behind := s
				behind.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
					c, err := plain(ctx, network, address)
					return &prefixed{c, proxyHeaders[4].header}, err
				}
				expectBodies(t, behind.client(t, config.Clone()), name+"://"+s.addr(), 4<<20)
			})
		})
	}
}
