package coserver_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"sync"

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

// A counter that each peer has for itself: the state of a session is its handler's variables.
func ExamplePacketServer() {
	server := &coserver.PacketServer{Handler: func(s *coserver.PacketSession) error {
		for count := 1; ; count++ {
			data, err := s.Next()
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(s, "%d: %s", count, data); err != nil {
				return err
			}
		}
	}}
	ln, err := server.Listen("udp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go server.Serve(ln)
	defer server.Close()

	client, err := net.Dial("udp", ln.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	answer := make([]byte, 100)
	for _, word := range []string{"hello", "again"} {
		io.WriteString(client, word)
		n, _ := client.Read(answer)
		fmt.Println(string(answer[:n]))
	}
	// Output:
	// 1: hello
	// 2: again
}

// A room of a chat: each line goes to all that are there, and whoever reads slowly keeps nobody waiting. Who has more than a megabyte to
// catch up on is shown out.
func ExampleBroadcast() {
	var mu sync.Mutex
	room := make(map[*coserver.Conn]struct{})
	server := &coserver.Server{
		QueuePolicy: coserver.CutSlow,
		Handler: func(c *coserver.Conn) error {
			mu.Lock()
			room[c] = struct{}{}
			coserver.Broadcast(maps.Keys(room), []byte("somebody has come in\n"))
			mu.Unlock()
			defer func() {
				mu.Lock()
				delete(room, c)
				mu.Unlock()
			}()
			for {
				line, err := c.ReadSlice('\n')
				if err != nil {
					return err
				}
				mu.Lock()
				coserver.Broadcast(maps.Keys(room), line) // never waits, so it may be called with a lock held
				mu.Unlock()
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

	join := func() (net.Conn, *bufio.Reader) {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			fmt.Println(err)
			return nil, nil
		}
		r := bufio.NewReader(c)
		r.ReadString('\n') // that it has come in itself
		return c, r
	}
	alice, toAlice := join()
	defer alice.Close()
	bob, toBob := join()
	defer bob.Close()
	io.WriteString(bob, "hello, everybody\n")
	for range 2 {
		line, _ := toAlice.ReadString('\n')
		fmt.Print("alice sees: ", line)
	}
	line, _ := toBob.ReadString('\n')
	fmt.Print("bob sees: ", line)
	// Output:
	// alice sees: somebody has come in
	// alice sees: hello, everybody
	// bob sees: hello, everybody
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
