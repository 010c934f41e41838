package bench

import (
	"github.com/strand-net/strand/bench/result"
)

// Measurement is one run of one engine in one scenario. Units are in the names; us is microseconds.
type Measurement struct {
	Messages     int64   `json:"messages"`
	Seconds      float64 `json:"seconds"`
	MessagesPerS float64 `json:"messages_per_s"`
	CPUUserUS    float64 `json:"server_cpu_user_us_per_message"`
	CPUSystemUS  float64 `json:"server_cpu_system_us_per_message"`
	CPUUS        float64 `json:"server_cpu_us_per_message"`
	P50US        float64 `json:"latency_p50_us"`
	P99US        float64 `json:"latency_p99_us"`
	P999US       float64 `json:"latency_p999_us"`
	MaxUS        float64 `json:"latency_max_us"`
	OverRange    int64   `json:"latency_over_range"`
	Batches      int64   `json:"latency_batches"`
	Drained      int     `json:"drained_batches"`
	Lost         int64   `json:"datagrams_lost,omitempty"`
	IdleKiB      float64 `json:"resident_kib_per_conn_idle"`
	KiB          float64 `json:"resident_kib_per_conn"`
	ConnectsPerS float64 `json:"connects_per_s"`
}

func newMeasurement(s Scenario, run *result.Run, seen *seen) Measurement {
	window, latency := &run.Windows[0], run.Operations[s.operation()].Response
	user, system := seen.cpuEnd.User-seen.cpuBegin.User, seen.cpuEnd.System-seen.cpuBegin.System
	perMessage := func(seconds float64) float64 { return seconds * 1e6 / float64(window.Messages) }
	perConn := func(bytes int64) float64 { return float64(bytes) / 1024 / float64(s.Conns) }
	quantile := func(q float64) float64 { return float64(latency.ValueAtQuantile(q)) / 1e3 }
	return Measurement{
		Messages:     window.Messages,
		Seconds:      window.Seconds,
		MessagesPerS: float64(window.Messages) / window.Seconds,
		CPUUserUS:    perMessage(user.Seconds()),
		CPUSystemUS:  perMessage(system.Seconds()),
		CPUUS:        perMessage((user + system).Seconds()),
		P50US:        quantile(50),
		P99US:        quantile(99),
		P999US:       quantile(99.9),
		MaxUS:        float64(latency.Max()) / 1e3,
		OverRange:    latency.Over,
		Batches:      latency.TotalCount(),
		Drained:      run.Intervals[len(run.Intervals)-1].InFlight,
		IdleKiB:      perConn(seen.idle - seen.before),
		KiB:          perConn(seen.after - seen.before),
		Lost:         run.Check.Lost,
		ConnectsPerS: float64(s.Conns) / run.Connect.Seconds,
	}
}

// metric is one column of the table and one summary.
type metric struct {
	name   string // as in Measurement's JSON
	title  string
	value  func(*Measurement) float64
	digits int // significant digits in the table
}

var metrics = []metric{
	{"messages_per_s", "messages/s", func(m *Measurement) float64 { return m.MessagesPerS }, 4},
	{"server_cpu_us_per_message", "CPU µs/msg", func(m *Measurement) float64 { return m.CPUUS }, 3},
	{"latency_p50_us", "p50 µs", func(m *Measurement) float64 { return m.P50US }, 3},
	{"latency_p99_us", "p99 µs", func(m *Measurement) float64 { return m.P99US }, 3},
	{"latency_p999_us", "p99.9 µs", func(m *Measurement) float64 { return m.P999US }, 3},
	{"resident_kib_per_conn", "KiB/conn", func(m *Measurement) float64 { return m.KiB }, 3},
}
