// Package made makes up load runs for tests of what shows them.
package made

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"time"

	"github.com/strand-net/strand/bench/result"
)

// Run is how a run looks.
type Run struct {
	Name, Server string
	Seconds      int
	Factor       float64 // of its latencies, CPU and memory
}

// Result returns a run of three windows after five seconds of warm-up, the same for the same m.
func (m Run) Result() *result.Run {
	random := rand.New(rand.NewPCG(1, uint64(m.Seconds)))
	r := &result.Run{
		SchemaVersion: result.SchemaVersion, ID: "7f3a", Name: m.Name, Begin: time.Date(2026, 11, 23, 14, 5, 0, 0, time.UTC),
		Config: json.RawMessage(`{"addr":"127.0.0.1:7000","connections":1000,"rate":50000,"arrivals":"poisson","size":{"distribution":"fixed","bytes":64},"windows":3,"warm_up":"5s"}`),
		Target: 50000,
		Machine: result.Machine{
			OS: "linux", Arch: "amd64", Kernel: "6.18.44", CPU: "AMD EPYC", Cores: 2, Threads: 2, NUMANodes: 1, Governor: "unknown", Virtual: "kvm", Steal: 0.012,
			Memory: 24 << 30, Descriptors: 20000, GOMAXPROCS: 2, Go: "go1.26.8", Env: map[string]string{"GOGC": "100"},
			Sysctls: map[string]string{"net.core.somaxconn": "4096", "net.ipv4.ip_local_port_range": "32768 60999"}, Version: "v0.9.0", Revision: "e179370", Network: "loopback",
		},
		Connect:    result.Connect{Wanted: 1000, Made: 1000, Seconds: 0.21, Latency: result.NewHistogram()},
		Operations: map[string]*result.Operation{"echo": {Response: result.NewHistogram(), Service: result.NewHistogram(), Lag: result.NewHistogram()}},
		Check:      result.Check{Checked: 1_500_000},
		Generator:  result.Generator{CPUUser: 9.1, CPUSystem: 14.2, Threads: 1, Busiest: 0.62, MaxRSS: 41 << 20},
		SLO:        []result.Objective{{Expression: "p99<50ms", Value: 11.2, OK: true}, {Expression: "rate>=0.99*target", Value: 0.998, OK: true}},
	}
	var err error
	if r.ConfigHash, err = result.HashConfig(r.Config); err != nil {
		panic(err) // it stands above
	}
	for range 1000 {
		r.Connect.Latency.Record(int64(200e3 * math.Exp(random.NormFloat64()/2)))
	}
	echo := r.Operations["echo"]
	for range 100_000 {
		service := 600e3 * m.Factor * math.Exp(random.NormFloat64()*0.7)
		lag := 20e3 * math.Exp(random.NormFloat64()*0.5)
		if random.IntN(500) == 0 {
			lag += 12e6 * random.Float64()
		}
		echo.Service.Record(int64(service))
		echo.Lag.Record(int64(lag))
		echo.Response.Record(int64(service + lag))
		echo.Count++
	}
	const warmUp = 5
	sample := func(at float64) result.Sample {
		return result.Sample{
			At: at, CPUUser: 0.3*m.Factor*(at+warmUp) + 0.1*math.Sin(at), CPUSystem: 0.7 * m.Factor * (at + warmUp), VoluntarySwitches: int64(900 * (at + warmUp)),
			InvoluntarySwitches: int64(20 * (at + warmUp)), Threads: 6, RSS: 18<<20 + int64(1e5*math.Sin(at/3)) + int64(m.Factor*4e6), PSS: 15<<20 + int64(m.Factor*4e6), TCPMemory: 6 << 20, Descriptors: 1012,
			Runtime: &result.Runtime{Heap: 4<<20 + int64(1.5e6*math.Abs(math.Sin(at))), Stack: 2 << 20, Goroutines: 9, GCCycles: int64(at + warmUp), GCPauses: 0.0004 * (at + warmUp), GCMaxPause: 0.001, GCCPU: 0.004 * (at + warmUp)},
		}
	}
	for i := range m.Seconds + warmUp {
		at := float64(i - warmUp)
		p50 := int64(620e3 * m.Factor * (1 + 0.1*random.Float64()))
		s := sample(at + 1)
		in := result.Interval{
			Begin: at, Seconds: 1, Target: 50000, Rate: 49600 + 500*random.Float64(), P50: p50, P90: p50 * 2, P99: p50*5 + random.Int64N(400e3), P999: p50 * 11, Max: p50 * (14 + random.Int64N(9)),
			Conns: 1000, InFlight: 30 + random.IntN(20), Server: &s,
		}
		if i == warmUp+m.Seconds/2 {
			in.Max = 210e6
		}
		r.Intervals = append(r.Intervals, in)
	}
	r.Server = &result.Server{Name: m.Server, PID: 4711, Idle: sample(-warmUp), Begin: sample(0), End: sample(float64(m.Seconds)), MaxRSS: 24 << 20}
	r.Server.Before = r.Server.Idle
	r.Server.Before.RSS -= int64(8e6 * m.Factor)
	r.Server.Before.TCPMemory = 1 << 20
	for i := range 3 {
		seconds := float64(m.Seconds) / 3
		operations := int64(49900 * seconds)
		r.Windows = append(r.Windows, result.Window{
			Begin: float64(i) * seconds, Seconds: seconds, Operations: operations, Messages: operations, BytesOut: operations * 64, BytesIn: operations * 64,
			CPUUser: 0.3 * m.Factor * seconds, CPUSystem: 0.7 * m.Factor * seconds,
		})
	}
	return r
}
