package compat_test

import (
	"context"
	"fmt"
	"net/http"

	"github.com/coder/websocket"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/coserver/httpserve"
)

// WebSockets on a sequential server: a path of its HTTP is upgraded by a library, whose handler is as sequential as any.
func Example_webSocketHandler() {
	mux := http.NewServeMux()
	mux.HandleFunc("/chat", func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return // Accept has answered
		}
		defer c.CloseNow()
		for {
			kind, message, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if err := c.Write(r.Context(), kind, append([]byte("you said "), message...)); err != nil {
				return
			}
		}
	})
	server := &coserver.Server{Handler: httpserve.Handler(&http.Server{Handler: mux})}
	ln, err := server.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go server.Serve(ln)
	defer server.Close()

	ctx := context.Background()
	c, _, err := websocket.Dial(ctx, "ws://"+ln.Addr().String()+"/chat", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.CloseNow()
	if err := c.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
		fmt.Println(err)
		return
	}
	_, answer, err := c.Read(ctx)
	fmt.Println(string(answer), err)
	// Output: you said hello <nil>
}
