package coserver_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/coserver/frame"
)

func ExampleServer() {
	server := &coserver.Server{Handler: func(c *coserver.Conn) error {
		for {
			line, err := c.ReadSlice('\n')
			if err != nil {
				return err
			}
			if _, err := c.Write(append([]byte("you said "), line...)); err != nil {
				return err
			}
		}
	}}
	ln, err := server.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go server.Serve(ln)
	defer server.Close()

	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	io.WriteString(client, "hello\n")
	answer, _ := bufio.NewReader(client).ReadString('\n')
	fmt.Print(answer)
	// Output: you said hello
}

// A server whose messages are lines, and that goes over to messages with a length when a client asks for it.
func ExampleConn_SetFraming() {
	server := &coserver.Server{
		Framing: frame.Line{Max: 1000},
		Handler: func(c *coserver.Conn) error {
			for {
				msg, err := c.RecvSlice()
				if err != nil {
					return err
				}
				switching := string(msg) == "binary"
				if err := c.Send(msg); err != nil {
					return err
				}
				if switching {
					if err := c.SetFraming(frame.Uvarint{Max: 1 << 20}); err != nil {
						return err
					}
				}
			}
		},
	}
	ln, err := server.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go server.Serve(ln)
	defer server.Close()

	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	io.WriteString(client, "text\nbinary\n\x05\nany\n")
	answer := make([]byte, 18)
	io.ReadFull(client, answer)
	fmt.Printf("%q\n", answer)
	// Output: "text\nbinary\n\x05\nany\n"
}

func ExampleConn_Messages() {
	server := &coserver.Server{
		Framing: frame.LengthField{Size: 2},
		Handler: func(c *coserver.Conn) error {
			for msg, err := range c.Messages() {
				if err != nil {
					return err
				}
				if err := c.Send(bytes.ToUpper(msg)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	ln, err := server.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go server.Serve(ln)
	defer server.Close()

	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	io.WriteString(client, "\x00\x05hello\x00\x05world")
	answer := make([]byte, 14)
	io.ReadFull(client, answer)
	fmt.Printf("%q\n", answer)
	// Output: "\x00\x05HELLO\x00\x05WORLD"
}
