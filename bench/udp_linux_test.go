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

func TestLoadUDP(t *testing.T) {
	for _, engine := range []string{server.EngineNet, server.EngineCoserver} {
		t.Run(engine, func(t *testing.T) {
			srv, err := server.Listen(server.Options{Engine: engine, Proto: server.ProtoUDPEcho, Addr: "127.0.0.1:0"})
			require.NoError(t, err)
			served := make(chan error, 1)
			go func() { served <- srv.Serve() }()
			o := quickLoad(srv.Addr())
			o.Conns, o.Pipeline = 300, 3
			result, err := bench.LoadUDP(t.Context(), o)
			require.NoError(t, err)
			require.Positive(t, result.Messages)
			require.Equal(t, result.Messages, result.Latency.TotalCount()+result.OverRange)
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
			_, err := bench.LoadUDP(t.Context(), quickLoad(startUDP(t, answer)))
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
	o := quickLoad(addr)
	o.Warmup, o.Window = 0, time.Second
	result, err := bench.LoadUDP(t.Context(), o)
	require.NoError(t, err)
	require.Positive(t, result.Lost)
	require.Greater(t, result.Messages, 10*result.Lost)
}

func TestLoadUDPValidates(t *testing.T) {
	good := quickLoad(&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9})
	for want, change := range map[string]func(*bench.LoadOptions){
		"size: a datagram has 16 to 65507 bytes": func(o *bench.LoadOptions) { o.Size = 15 },
		"conns: 65536 peers":                     func(o *bench.LoadOptions) { o.Conns = 1 << 16 },
		"addr: 192.0.2.1:9 is not in":            func(o *bench.LoadOptions) { o.Addr = "192.0.2.1:9" },
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
