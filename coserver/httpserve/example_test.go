package httpserve_test

import (
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/coserver/httpserve"
)

// One port speaks two protocols: HTTP, with handlers by path, and one of lines.
func ExampleHandler() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello, %s\n", r.PathValue("name"))
	})
	web := httpserve.Handler(&http.Server{Handler: mux})
	server := &coserver.Server{Handler: func(c *coserver.Conn) error {
		first, err := c.Peek(4)
		if err != nil {
			return err
		}
		if string(first) == "GET " {
			return web(c)
		}
		for {
			line, err := c.ReadLine(1000)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(c, "you said %s\n", line); err != nil {
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

	response, err := http.Get("http://" + ln.Addr().String() + "/hello/world")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	fmt.Print(string(body))

	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	io.WriteString(client, "hello\n")
	answer := make([]byte, len("you said hello\n"))
	io.ReadFull(client, answer)
	fmt.Print(string(answer))
	// Output:
	// hello, world
	// you said hello
}
