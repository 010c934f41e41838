package compat_test

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// abuse is what a client of HTTP/2 sends again and again, with a number that grows: the frames of stream 1, 3, 5 and so on.
type abuse struct {
	name string
	send func(framer *http2.Framer, stream uint32, headers []byte) error
}

var abuses = []abuse{
	{"rapid reset", func(framer *http2.Framer, stream uint32, headers []byte) error { // CVE-2023-44487
		err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: headers, EndStream: true, EndHeaders: true})
		return errors.Join(err, framer.WriteRSTStream(stream, http2.ErrCodeCancel))
	}},
	{"continuation flood", func(framer *http2.Framer, stream uint32, headers []byte) error { // CVE-2023-45288
		if stream == 1 {
			return framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headers})
		}
		return framer.WriteContinuation(1, false, bytes.Repeat(headers, 20))
	}},
}

// faults.md X7: a client that abuses HTTP/2 is put out, and others are served meanwhile, on strand as on package net.
func TestHTTP2Abuse(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			time.Sleep(500 * time.Millisecond) // work that does not end with the stream is what makes an attack of resets
		}
	})
	for _, a := range abuses {
		t.Run(a.name, func(t *testing.T) {
			onEachSubject(t, func(t *testing.T, subject side) {
				var protocols http.Protocols
				protocols.SetUnencryptedHTTP2(true)
				serveHTTP(t, subject, &http.Server{Handler: handler, Protocols: &protocols})
				client := subject.client(t, nil)
				client.Transport.(*http.Transport).Protocols = &protocols
				c := subject.connect(t)
				var over sync.WaitGroup
				defer over.Wait()
				defer c.Close()
				ended := make(chan error, 1)
				over.Go(func() { ended <- a.until(c) })
				over.Go(func() {
					for framer := http2.NewFramer(nil, c); ; { // what the server says, until its end
						if _, err := framer.ReadFrame(); err != nil && !errors.As(err, new(http2.StreamError)) {
							return
						}
					}
				})
				for put := false; !put; {
					response, err := client.Get("http://" + subject.addr() + "/")
					_, err = answer(response, err, http.StatusOK)
					require.NoError(t, err)
					select {
					case err := <-ended:
						require.Error(t, err, "it is never put out")
						require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "it is never put out")
						put = true
					default:
					}
				}
				response, err := client.Get("http://" + subject.addr() + "/")
				_, err = answer(response, err, http.StatusOK)
				require.NoError(t, err)
			})
		})
	}
}

// until sends until the server puts the client out, or has had enough of it to have done so.
func (a *abuse) until(c net.Conn) error {
	if _, err := c.Write([]byte(http2.ClientPreface)); err != nil {
		return err
	}
	framer := http2.NewFramer(c, nil)
	if err := framer.WriteSettings(); err != nil {
		return err
	}
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "x"}, {":path", "/slow"}} {
		if err := encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			return err
		}
	}
	for stream := uint32(1); stream < 1<<20; stream += 2 {
		if err := a.send(framer, stream, block.Bytes()); err != nil {
			return err
		}
	}
	return nil
}
