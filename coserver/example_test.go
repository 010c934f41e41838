package coserver_test

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"sync"

	"github.com/strand-net/strand/coserver"
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
