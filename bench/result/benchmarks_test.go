package result

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/perf/benchfmt"
)

// samples reads text as benchstat does.
func samples(t *testing.T, text string) (all []*benchfmt.Result, units benchfmt.UnitMetadataMap) {
	reader := benchfmt.NewReader(strings.NewReader(text), "text")
	for reader.Scan() {
		switch record := reader.Result().(type) {
		case *benchfmt.Result:
			all = append(all, record.Clone())
		case *benchfmt.SyntaxError:
			require.NoError(t, record)
		}
	}
	require.NoError(t, reader.Err())
	return all, reader.Units()
}

func TestBenchmarkLines(t *testing.T) {
	r := testRun(t, 1, 1)
	r.Tags = map[string]string{"engine": "a b/c=d-8", "case": "x"}
	r.Machine.Arch = "amd64"
	other := testRun(t, 2, 2)
	other.Machine.CPU = "Another\nCPU"
	other.Server = nil
	other.Operations = map[string]*Operation{"GET/x": other.Operations["echo"], "ping": {}}
	var out bytes.Buffer
	require.NoError(t, WriteBenchmarks(&out, r, other))

	all, units := samples(t, out.String())
	require.Len(t, all, 3)
	require.Equal(t, "Echo/case=x/engine=a_b_c_d-8/conns=100", string(all[0].Name))
	require.Equal(t, "GET_x/engine=net/conns=100", string(all[1].Name))
	require.Equal(t, "Ping/engine=net/conns=100", string(all[2].Name))
	require.Equal(t, []string{"linux", "amd64", "Some CPU"}, []string{all[0].GetConfig("goos"), all[0].GetConfig("goarch"), all[0].GetConfig("cpu")})
	require.Equal(t, "Another CPU", all[1].GetConfig("cpu"))

	require.Equal(t, 1900, all[0].Iters)
	response := r.Operations["echo"].Response
	for unit, want := range map[string]float64{
		"ops/s":              950,
		"p50-sec":            float64(response.ValueAtQuantile(50)) / 1e9,
		"p99.9-sec":          float64(response.ValueAtQuantile(99.9)) / 1e9,
		"max-sec":            float64(response.Max()) / 1e9,
		"server-cpu-sec/msg": 0.1 / 3800,
		"server-B/conn":      float64(1<<20) / 99,
		"errors":             3,
	} {
		got, ok := all[0].Value(unit)
		require.True(t, ok, "%s in %v", unit, all[0].Values)
		require.InEpsilon(t, want, got, 1e-6, unit)
	}
	for _, m := range measures {
		_, known := all[0].Value(strings.Replace(m.unit, "ns", "sec", 1))
		require.True(t, known, m.unit)
		better := units.Get(strings.Replace(m.unit, "ns", "sec", 1), "better")
		require.NotNil(t, better, m.unit)
		require.Equal(t, m.better, better.Value)
	}
	_, known := all[1].Value("server-B/conn")
	require.False(t, known, "nobody watched the server")
	_, known = all[2].Value("p50-sec")
	require.False(t, known, "nothing was recorded")

	r.Invalid = []string{"why"}
	require.EqualError(t, WriteBenchmarks(&out, r), "run run-1 is invalid: why")
}

func TestTable(t *testing.T) {
	r := measuredRun()
	r.Name = "echo, 5 connections"
	r.Machine = Machine{CPU: "Some CPU", Cores: 2, OS: "linux", Kernel: "6.1", Go: "go1.26"}
	r.Connect.Wanted, r.Connect.Seconds = 5, 0.25
	r.Windows[0].BytesOut, r.Windows[1].BytesIn = 4<<20, 3<<10
	r.Server.Name = "net"
	r.Receipt = &Receipt{Streams: 5, Bytes: 4 << 20, Seconds: 2.5}
	r.Generator = Generator{CPUUser: 1, CPUSystem: 0.5, Threads: 2, Busiest: 0.25}
	r.Operations["GET/x-1"].Response.Record(2 * Highest)
	conditions, err := ParseConditions([]string{"lost==0", "errors==0", "lag.max<1m"})
	require.NoError(t, err)
	r.Operations["GET/x-1"].Lag = nil
	r.Judge(conditions)
	r.Interrupted, r.Invalid = true, []string{"why"}
	r.Server.Begin = Sample{CPUUser: 1, CPUSystem: 1, VoluntarySwitches: 5, InvoluntarySwitches: 1, Runtime: &Runtime{GCCycles: 1}}
	r.Server.End = Sample{CPUUser: 2, CPUSystem: 1.5, VoluntarySwitches: 105, InvoluntarySwitches: 3, RSS: 3 << 20, PSS: 2 << 20, TCPMemory: 4096,
		Runtime: &Runtime{Heap: 1 << 20, Stack: 64 << 10, Goroutines: 7, GCCycles: 3, GCPauses: 0.001}}
	var out bytes.Buffer
	require.NoError(t, r.WriteTable(&out))
	require.Equal(t, strings.TrimLeft(`
echo, 5 connections
Some CPU, 2 cores, linux 6.1, go1.26

                  count     min    mean     p50     p90     p99   p99.9  p99.99     max
GET/x-1 response    301  20.0ms   12.0s  20.0ms  20.0ms  20.0ms   3601s   3601s     >1h
GET/x-1 service     300  9.99ms  10.0ms  10.0ms  10.0ms  10.0ms  10.0ms  10.0ms  10.0ms
echo response       100  1.00ms  1.08ms  1.00ms  1.00ms  1.00ms  9.00ms  9.00ms  9.00ms
echo service        100   500µs   500µs   500µs   500µs   500µs   500µs   500µs   500µs
connect               4  50.0ms  50.0ms  50.0ms  50.0ms  50.0ms  50.0ms  50.0ms  50.0ms

rate        1000 operations/s of 1000 planned, 2000 messages/s, 2.00 MiB/s out, 1.50 KiB/s in, in 2 windows of 2 s all together
connections 4 of 5 in 0.25 s, 1 failed
checked     0 answers: 0 lost, 2 reordered, 3 duplicated, 4 corrupt
received    4194304 bytes on 5 streams, as the server says: 13.4 Mbit/s in 2.5 s
errors      2 a
errors      3 b
server      net: 10 µs of CPU for a message, 1.00 MiB in use at most, 5.00 KiB for a connection that rests
            1.5 s of CPU, 0.5 s of it in the kernel, 100 context switches and 2 that it did not want
            in the end RSS 3.00 MiB, PSS 2.00 MiB, TCP memory of the machine 4.00 KiB
            heap 1.00 MiB, stacks 64.0 KiB, 7 goroutines, 2 collections with pauses of 1.00ms all together
generator   1.5 s of CPU, 2 threads, the busiest 25 % of the time
objective   lost==0: kept, with 0
objective   errors==0: not kept, with 5
objective   lag.max<1m: not kept: nothing was recorded
INTERRUPTED these are the figures until then
INVALID     why
`, "\n"), out.String())

	r.Server.End = Sample{} // it has died
	out.Reset()
	require.NoError(t, r.WriteTable(&out))
	require.Contains(t, out.String(), "\nserver      net: CPU for a message unknown, the server was not there in the end, 1.00 MiB in use at most, 5.00 KiB for a connection that rests\ngenerator ")

	r.Server, r.Unwatched = nil, "why not"
	out.Reset()
	require.NoError(t, r.WriteTable(&out))
	require.Contains(t, out.String(), "\nserver      not watched: why not\ngenerator ")
}
