package main_test

import (
	"encoding/binary"
	"net"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/result"
)

func TestLoadOverUDP(t *testing.T) {
	s := serve(t, nil, "--proto", "udp-echo")
	file := filepath.Join(t.TempDir(), "result.json")
	for _, args := range [][]string{{"--rate", "500"}, {"--rate", "500", "--shards", "2"}} {
		args = append(args, "--lost-after", "20s", "--json", file, "--slo", "loss==0", "--slo", "errors==0")
		o := run(t, exec.Command(strand, loadArgs("udp:"+s.addr, args...)...))
		require.Equal(t, 0, o.code, o.stderr)
		require.Regexp(t, `^echo over UDP, 5 connections, 64 B, 500/s constant\n`, o.stdout)
		require.Regexp(t, `\necho response +550 `, o.stdout)
		r, err := result.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, result.Check{Checked: r.Check.Checked, Datagrams: true}, r.Check)
	}
}

// What is lost over UDP is a figure, for objectives to judge; what is changed is a fault.
func TestOutcomeOverUDP(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func([]byte) []byte
		slo   string
		code  int
		words string
	}{
		{"lost", func([]byte) []byte { return nil }, "errors==0", 0, ""},
		{"lost, and that is no objective", func([]byte) []byte { return nil }, "loss<=0.5", 0, ""},
		{"lost, and that is an objective", func([]byte) []byte { return nil }, "lost==0", 99, "objectives that were not kept: lost==0 (it was "},
		{"changed", func(data []byte) []byte { data[40] ^= 1; return data }, "errors>=0", 1, "what came back is not what was sent: connection "},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := net.ListenPacket("udp", "127.0.0.1:0")
			require.NoError(t, err)
			var all sync.WaitGroup
			all.Go(func() {
				buffer := make([]byte, 1<<16)
				for {
					n, from, err := conn.ReadFrom(buffer)
					if err != nil {
						return
					}
					data := buffer[:n]
					if binary.BigEndian.Uint32(data[4:])%10 == 3 {
						data = c.spoil(data)
					}
					if data != nil {
						conn.WriteTo(data, from)
					}
				}
			})
			defer all.Wait()
			defer conn.Close()
			o := run(t, exec.Command(strand, loadArgs("udp:"+conn.LocalAddr().String(), "--rate", "500", "--slo", c.slo)...))
			require.Equal(t, c.code, o.code, o.stderr)
			require.Contains(t, o.stderr, c.words)
			require.Regexp(t, `(?m)^checked +[1-9]\d* answers: `, o.stdout)
		})
	}
}

func TestLoadOverUDPToNobody(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	o := run(t, exec.Command(strand, loadArgs("udp:"+conn.LocalAddr().String())...))
	require.Equal(t, 1, o.code)
	require.Regexp(t, `^strand: load: connection 1 of 5 to `+conn.LocalAddr().String()+`: (recv|send): connection refused\n$`, o.stderr)
}
