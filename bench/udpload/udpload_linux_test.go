package udpload_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/server"
	"github.com/strand-net/strand/bench/udpload"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// quickLoad is a run that is long enough to see everything happen.
func quickLoad(addr net.Addr) udpload.Options {
	return udpload.Options{
		Addr: addr.String(), Peers: 5, Depth: 1, Size: 64,
		Warmup: 20 * time.Millisecond, Window: 100 * time.Millisecond,
	}
}

// What comes back is counted, and who watches is told when that begins and ends.
func TestRun(t *testing.T) {
	for _, engine := range []string{server.EngineNet, server.EngineCoserver} {
		t.Run(engine, func(t *testing.T) {
			srv, err := server.Listen(server.Options{Engine: engine, Proto: server.ProtoUDPEcho, Addr: "127.0.0.1:0"})
			require.NoError(t, err)
			served := make(chan error, 1)
			go func() { served <- srv.Serve() }()
			o := quickLoad(srv.Addr())
			o.Peers, o.Depth = 300, 3
			var told []string
			o.OnBegin = func() error { told = append(told, "begin"); return nil }
			o.OnEnd = func() error { told = append(told, "end"); return nil }
			result, err := udpload.Run(t.Context(), o)
			require.NoError(t, err)
			require.Positive(t, result.Datagrams)
			require.Equal(t, result.Datagrams, result.Latency.TotalCount()+result.OverRange)
			require.Equal(t, []string{"begin", "end"}, told)
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
func TestChecks(t *testing.T) {
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
			_, err := udpload.Run(t.Context(), quickLoad(startUDP(t, answer)))
			require.ErrorContains(t, err, want)
		})
	}
}

// Datagrams that do not come back are counted, and hold nothing up.
func TestCountsLosses(t *testing.T) {
	addr := startUDP(t, func(number int, data []byte) []byte {
		if number%100 == 99 {
			return nil
		}
		return data
	})
	o := quickLoad(addr)
	o.Warmup, o.Window = 0, time.Second
	result, err := udpload.Run(t.Context(), o)
	require.NoError(t, err)
	require.Positive(t, result.Lost)
	require.Greater(t, result.Datagrams, 10*result.Lost)
}

func TestValidate(t *testing.T) {
	good := quickLoad(&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9})
	for want, change := range map[string]func(*udpload.Options){
		"size: a datagram has 16 to 65,507 bytes": func(o *udpload.Options) { o.Size = 15 },
		"conns: 65536 peers":                      func(o *udpload.Options) { o.Peers = 1 << 16 },
		"addr: 192.0.2.1:9 is not in":             func(o *udpload.Options) { o.Addr = "192.0.2.1:9" },
	} {
		o := good
		change(&o)
		_, err := udpload.Run(t.Context(), o)
		require.ErrorContains(t, err, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := udpload.Run(ctx, good)
	require.ErrorIs(t, err, context.Canceled)
}
