// Command peers serves the protocols of strand serve on other network libraries, for strand bench to compare with. It is a module of its
// own, so that nobody who embeds strand has these libraries among their dependencies.
//
// Each library is used as its documentation says, with the options that it names for such a server. On all of them the messages that are at hand
// are written together: with one write each, which is what package net is given, the comparison would be one of system calls.
package main

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
)

// engines serve on a bound address until they fail; listening must be called once, when clients can connect.
var engines = map[string]func(addr string, split splitter, listening func(net.Addr)) error{
	"gnet":    serveGnet,
	"netpoll": serveNetpoll,
	"nbio":    serveNbio,
}

// names are the engines in the order of a table.
var names = []string{"gnet", "netpoll", "nbio"}

func main() {
	engine := flag.String("engine", "gnet", "library to serve with: "+strings.Join(names, ", "))
	proto := flag.String("proto", "echo", "protocol to speak: echo, line, or length (messages after their length in 4 bytes)")
	addr := flag.String("addr", "127.0.0.1:0", "address to listen on, `HOST:PORT`; port 0 takes a free one")
	list := flag.Bool("list", false, "print the names of the libraries, one a line, each with its protocols, and end")
	flag.Parse()
	if *list {
		protos := strings.Join(slices.Sorted(maps.Keys(splitters)), " ")
		for _, name := range names {
			fmt.Println(name, protos)
		}
		return
	}
	serve, known := engines[*engine]
	split, spoken := splitters[*proto]
	switch {
	case flag.NArg() > 0:
		fail(2, fmt.Errorf("unexpected argument %q", flag.Arg(0)))
	case !known:
		fail(2, fmt.Errorf("engine: unknown engine %q (there are: %s)", *engine, strings.Join(names, ", ")))
	case !spoken:
		fail(2, fmt.Errorf("proto: unknown protocol %q (there are: echo, line, length)", *proto))
	}
	go func() { // whoever has started this has ended, or wants it to end
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fail(1, fmt.Errorf("%s: %w", *engine, serve(*addr, split, func(addr net.Addr) {
		runtime.GC() // as strand serve does
		fmt.Printf("listening on %v (engine %s, proto %s)\n", addr, *engine, *proto)
	})))
}

func fail(code int, err error) {
	fmt.Fprintf(os.Stderr, "peers: %v\n", err)
	os.Exit(code)
}
