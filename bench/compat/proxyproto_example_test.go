package compat_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/strand-net/strand/coserver"
)

// A proxy or load balancer hides who its clients are. With the PROXY protocol (haproxy.org, proxy-protocol.txt, versions 1 and 2) it
// says so at the beginning of each connection. Whoever may connect may also lie, so a server believes that of some sources
// alone. trust lets in these, which must send a header, and nobody else: a server that guesses whether there is a header can be lied to.
func trust(sources ...string) (proxyproto.ConnPolicyFunc, error) {
	return proxyproto.TrustProxyHeaderFromRanges(sources)
}

// net/http on coserver.Listen: proxyproto.Listener goes between them. With TLS it is the same with ServeTLS, for the header comes before
// the handshake. A header of version 1 must come in one piece, or the connection fails. RemoteAddr waits for the header, so it
// must not be called in ConnContext or for http.StateNew in ConnState: these are called between one Accept and the next.
func Example_proxyProtocolListener() {
	trusted, err := trust("127.0.0.0/8", "::1")
	if err != nil {
		fmt.Println(err)
		return
	}
	ln, err := coserver.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.RemoteAddr) })}
	go server.Serve(&proxyproto.Listener{Listener: ln, ConnPolicy: trusted, ReadHeaderTimeout: 5 * time.Second})
	defer server.Close()

	proxy, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer proxy.Close()
	io.WriteString(proxy, "PROXY TCP4 192.0.2.1 198.51.100.1 40000 80\r\nGET / HTTP/1.0\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(proxy), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	fmt.Print(string(body))
	// Output: 192.0.2.1:40000
}

// A sequential handler reads the header itself, before anything else.
func Example_proxyProtocolHandler() {
	trusted, err := trust("127.0.0.0/8", "::1")
	if err != nil {
		fmt.Println(err)
		return
	}
	server := &coserver.Server{Handler: behindProxy(trusted, 5*time.Second, func(c *coserver.Conn, client net.Addr) error {
		_, err := fmt.Fprintln(c, client)
		return err
	})}
	ln, err := server.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go server.Serve(ln)
	defer server.Close()

	proxy, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer proxy.Close()
	io.WriteString(proxy, "PROXY TCP6 2001:db8::1 2001:db8::2 40000 7000\r\n")
	answer, _ := io.ReadAll(proxy)
	fmt.Print(string(answer))
	// Output: [2001:db8::1]:40000
}

// behindProxy makes a handler of one that is told who its client is, by a header if policy wants one of whoever has connected. The
// header must come within timeout. A connection that policy refuses, or that has no valid header, ends with that error, which the
// server reports; one that ends without a byte, as a health check does, is not reported.
//
// Server.TLSConfig cannot be used with it, for its handshake comes before the handler, and so before the header: the handler calls
// StartTLS. Server.MaxConnsPerIP and the log know the proxy alone.
func behindProxy(policy proxyproto.ConnPolicyFunc, timeout time.Duration, handler func(c *coserver.Conn, client net.Addr) error) func(*coserver.Conn) error {
	return func(c *coserver.Conn) error {
		client, err := clientOf(c, policy, timeout)
		if err == io.EOF {
			return err
		}
		if err != nil {
			return fmt.Errorf("PROXY header: %w", err)
		}
		return handler(c, client)
	}
}

// clientOf returns the address of the client behind c, which is that of c itself if there is no proxy.
func clientOf(c *coserver.Conn, policy proxyproto.ConnPolicyFunc, timeout time.Duration) (net.Addr, error) {
	wanted, err := policy(proxyproto.ConnPolicyOptions{Upstream: c.RemoteAddr(), Downstream: c.LocalAddr()})
	if err != nil {
		return nil, err
	}
	if wanted == proxyproto.SKIP {
		return c.RemoteAddr(), nil
	}
	if err := c.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	header, err := takeHeader(c)
	if errors.Is(err, proxyproto.ErrNoProxyProtocol) && wanted != proxyproto.REQUIRE {
		header, err = nil, nil // nothing has been taken
	}
	if err != nil {
		return nil, err
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	if header != nil && wanted == proxyproto.REJECT {
		return nil, proxyproto.ErrSuperfluousProxyHeader
	}
	if header == nil || wanted == proxyproto.IGNORE || header.Command.IsLocal() || header.SourceAddr == nil {
		return c.RemoteAddr(), nil // a proxy that speaks for itself, to see whether the server is well
	}
	return header.SourceAddr, nil
}

// takeHeader takes the header that c begins with, and not a byte more: what Peek has shown stays unread, and the next call finds it, be it
// a read or StartTLS. A bufio.Reader around c would have read on. And the header may come in pieces, of either version, where
// proxyproto.Read with a connection behind it wants one of version 1 whole.
func takeHeader(c *coserver.Conn) (*proxyproto.Header, error) {
	length, err := headerLength(c)
	if err != nil {
		return nil, err
	}
	data, err := peek(c, length)
	if err != nil {
		return nil, err
	}
	header, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(data), length))
	if err != nil {
		return nil, err
	}
	_, err = c.Discard(length)
	return header, err
}

const (
	signature1 = "PROXY "
	longest1   = 107 // proxy-protocol.txt, 2.1: of a line with its end
	fixed2     = 16  // proxy-protocol.txt, 2.2: signature, version, family, and the length of the rest
)

// headerLength waits until it is known how long the header is.
func headerLength(c *coserver.Conn) (int, error) {
	first, err := peek(c, 1)
	if err != nil {
		return 0, err
	}
	if first[0] == proxyproto.SIGV2[0] {
		fixed, err := peek(c, fixed2)
		if err != nil {
			return 0, err
		}
		if !bytes.HasPrefix(fixed, proxyproto.SIGV2) {
			return 0, proxyproto.ErrNoProxyProtocol
		}
		rest := binary.BigEndian.Uint16(fixed[fixed2-2:])
		if rest > proxyproto.MaxV2HeaderSize {
			return 0, proxyproto.ErrInvalidLength
		}
		return fixed2 + int(rest), nil
	}
	for n := 1; n <= longest1; n++ {
		line, err := peek(c, n)
		if err != nil {
			return 0, err
		}
		if n <= len(signature1) && line[n-1] != signature1[n-1] {
			return 0, proxyproto.ErrNoProxyProtocol
		}
		if line[n-1] == '\n' {
			return n, nil
		}
	}
	return 0, proxyproto.ErrVersion1HeaderTooLong
}

// peek is Peek where an end in mid-header is an error of its own.
func peek(c *coserver.Conn, n int) ([]byte, error) {
	data, err := c.Peek(n)
	if err == io.EOF && len(data) > 0 {
		err = io.ErrUnexpectedEOF
	}
	return data, err
}
