package frame_test

import (
	"bytes"
	"fmt"
	"io"
	"net"

	"github.com/strand-net/strand/coserver/frame"
)

// A client on package net sends two messages and takes what comes back.
func Example() {
	client, server := net.Pipe()
	go io.Copy(server, server) // an echo

	framing := frame.LengthField{Size: 4, Max: 1 << 20}
	w, err := frame.NewWriter(client, framing)
	if err != nil {
		fmt.Println(err)
		return
	}
	r, _ := frame.NewReader(client, framing) // it is the same framing
	for _, text := range []string{"hello", "world"} {
		if err := w.Send([]byte(text)); err != nil {
			fmt.Println(err)
			return
		}
		msg, err := r.Recv()
		fmt.Println(string(msg), err)
	}
	client.Close()
	server.Close()
	// Output:
	// hello <nil>
	// world <nil>
}

func ExampleReader_Messages() {
	r, _ := frame.NewReader(bytes.NewReader([]byte("one\r\ntwo\nthr")), frame.Line{Max: 80})
	for msg, err := range r.Messages() {
		fmt.Printf("%q %v\n", msg, err)
	}
	// Output:
	// "one" <nil>
	// "two" <nil>
	// "thr" unexpected EOF
}

// How long a message is depends on its first byte.
func ExampleFunc() {
	tagged := frame.Func{Max: 1000, Length: func(data []byte) (int, error) {
		switch data[0] {
		case 'p': // a ping has nothing more
			return 1, nil
		case 't': // a text has its length in a byte
			if len(data) < 2 {
				return 0, nil
			}
			return 2 + int(data[1]), nil
		}
		return 0, fmt.Errorf("there is no message of type %q", data[0])
	}}
	r, _ := frame.NewReader(bytes.NewReader([]byte("pt\x05hellopx")), tagged)
	for msg, err := range r.Messages() {
		fmt.Printf("%q %v\n", msg, err)
	}
	// Output:
	// "p" <nil>
	// "t\x05hello" <nil>
	// "p" <nil>
	// "" there is no message of type 'x'
}
