package bench_test

import (
	"fmt"
	"net"
	"os"
	"testing"

	"github.com/strand-net/strand/bench/server"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

// childMode, in the environment, makes this test binary a child as StartChild wants it, or as it fears it.
const childMode = "BENCH_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childMode) {
	case "":
		leak.Main(m)
	case "dies":
		fmt.Fprintln(os.Stderr, "no luck today")
		os.Exit(3)
	case "babbles":
		fmt.Println("hello")
		select {}
	case "waits":
		fmt.Println("listening on 127.0.0.1:1 (nothing)")
		os.Stdin.Read(make([]byte, 1))
	case "crashes":
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			os.Exit(4)
		}
		fmt.Printf("listening on %v\n", listener.Addr())
		conn, _ := listener.Accept()
		conn.Read(make([]byte, 1))
		fmt.Fprintln(os.Stderr, "panic: out of ideas")
		os.Exit(2)
	case "echoes", "serves":
		proto := server.ProtoEcho
		if len(os.Args) == 2 {
			proto = os.Args[1]
		}
		srv, err := server.Listen(server.Options{Engine: server.EngineNet, Proto: proto, Addr: "127.0.0.1:0"})
		if err != nil {
			os.Exit(4)
		}
		fmt.Printf("listening on %v\n", srv.Addr())
		srv.Serve()
	case "silent":
		os.Stdin.Read(make([]byte, 1))
	}
}
