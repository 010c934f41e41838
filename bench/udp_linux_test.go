package bench_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench"
	"github.com/strand-net/strand/bench/server"
)

// quickUDP is a short load of a server at addr.
func quickUDP(addr net.Addr) bench.UDPOptions {
	return bench.UDPOptions{Addr: addr.String(), Peers: 10, Window: 2, Size: 64, Warmup: 10 * time.Millisecond, Length: 100 * time.Millisecond}
}

func TestLoadUDP(t *testing.T) {
	for _, engine := range []string{server.EngineNet, server.EngineCoserver} {
		t.Run(engine, func(t *testing.T) {
			srv, err := server.Listen(server.Options{Engine: engine, Proto: server.ProtoUDPEcho, Addr: "127.0.0.1:0"})
			require.NoError(t, err)
			served := make(chan error, 1)
			go func() { served <- srv.Serve() }()
			o := quickUDP(srv.Addr())
			o.Peers, o.Window = 300, 3
			run, err := bench.LoadUDP(t.Context(), o)
			require.NoError(t, err)
			require.Positive(t, run.Windows[0].Messages)
			require.Equal(t, run.Windows[0].Messages, run.Operations["echo"].Response.TotalCount())
			require.NoError(t, srv.Close())
			require.NoError(t, <-served)
		})
	}
}

// startUDP answers each datagram with what answer makes of it; nil is no answer.
func startUDP(t *testing.T, answer func(number int, data []byte) []byte) net.Addr {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buffer := make([]byte, 1<<16)
		for number := 0; ; number++ {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			if data := answer(number, buffer[:n]); data != nil {
				conn.WriteTo(data, from)
			}
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-ended
	})
	return conn.LocalAddr()
}

// Whatever is wrong with an answer is found out.
func TestLoadUDPChecks(t *testing.T) {
	var before []byte
	for want, answer := range map[string]func(int, []byte) []byte{
		"is not what was sent": func(number int, data []byte) []byte {
			if number == 50 {
				data[len(data)-1]++
			}
			return data
		},
		"it is another peer's": func(number int, data []byte) []byte {
			last := before
			before = append([]byte(nil), data...)
			if number >= 50 { // some time the two are not of one peer
				return last
			}
			return data
		},
		"where 64 were sent": func(_ int, data []byte) []byte { return data[:10] },
		"65 bytes":           func(_ int, data []byte) []byte { return append(data, 1) },
	} {
		t.Run(want, func(t *testing.T) {
			_, err := bench.LoadUDP(t.Context(), quickUDP(startUDP(t, answer)))
			require.ErrorContains(t, err, want)
		})
	}
}

// Datagrams that do not come back are counted, and hold nothing up.
func TestLoadUDPCountsLosses(t *testing.T) {
	addr := startUDP(t, func(number int, data []byte) []byte {
		if number%100 == 99 {
			return nil
		}
		return data
	})
	o := quickUDP(addr)
	o.Warmup, o.Length = 0, time.Second
	run, err := bench.LoadUDP(t.Context(), o)
	require.NoError(t, err)
	require.Positive(t, run.Check.Lost)
	require.Greater(t, run.Windows[0].Messages, 10*run.Check.Lost)
}

func TestLoadUDPValidates(t *testing.T) {
	good := quickUDP(&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9})
	for want, change := range map[string]func(*bench.UDPOptions){
		"size: a datagram has 16 to 65507 bytes": func(o *bench.UDPOptions) { o.Size = 15 },
		"conns: 65536 peers":                     func(o *bench.UDPOptions) { o.Peers = 1 << 16 },
		"addr: 192.0.2.1:9 is not in":            func(o *bench.UDPOptions) { o.Addr = "192.0.2.1:9" },
	} {
		o := good
		change(&o)
		_, err := bench.LoadUDP(t.Context(), o)
		require.ErrorContains(t, err, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := bench.LoadUDP(ctx, good)
	require.ErrorIs(t, err, context.Canceled)
}
