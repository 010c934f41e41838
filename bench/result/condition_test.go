package result

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// measuredRun has figures that are easy to tell apart.
func measuredRun() *Run {
	constant := func(latency time.Duration, n int) *Histogram {
		h := NewHistogram()
		for range n {
			h.Record(int64(latency))
		}
		return h
	}
	echo := constant(time.Millisecond, 99)
	echo.Record(int64(9 * time.Millisecond))
	return &Run{
		Target:  1000,
		Connect: Connect{Made: 4, Failed: 1, Latency: constant(50*time.Millisecond, 4)},
		Windows: []Window{
			{Seconds: 1, Operations: 990, Messages: 2000, Errors: 1, CPUUser: 0.01},
			{Seconds: 1, Operations: 1010, Messages: 2000, CPUSystem: 0.03},
		},
		Operations: map[string]*Operation{
			"echo":    {Count: 100, Censored: 3, Response: echo, Service: constant(500*time.Microsecond, 100)},
			"GET/x-1": {Count: 300, Censored: 1, Response: constant(20*time.Millisecond, 300), Service: constant(10*time.Millisecond, 300), Lag: constant(100*time.Microsecond, 1)},
		},
		Check:  Check{Reordered: 2, Duplicated: 3, Corrupt: 4},
		Errors: map[string]int64{"a": 2, "b": 3},
		Server: &Server{Before: Sample{RSS: 10 << 10}, Idle: Sample{RSS: 30 << 10}, MaxRSS: 1 << 20},
	}
}

// Of a run in stages each has to keep its own target; that the others make up for it does not count.
func TestConditionsOfStages(t *testing.T) {
	r := measuredRun()
	r.Windows = []Window{
		{Seconds: 2, Operations: 2020, Target: 1000},
		{Seconds: 1, Operations: 1900, Target: 2000},
		{Seconds: 4, Operations: 16000, Target: 4000},
	}
	r.Target = (2000 + 2000 + 16000) / 7.0
	for expression, want := range map[string]struct {
		value float64
		ok    bool
	}{
		"rate>=0.95*target":  {1900, true},
		"rate>=0.951*target": {1900, false},
		"rate>=target":       {1900, false},
		"rate<=1.01*target":  {1900, true},
		"rate<=target":       {1010, false},
		"rate>2000":          {19920 / 7.0, true},
	} {
		c, err := ParseCondition(expression)
		require.NoError(t, err)
		o := c.Evaluate(r)
		require.InDelta(t, want.value, o.Value, 1e-9, expression)
		require.Equal(t, want.ok, o.OK, expression)
		require.Empty(t, o.Reason)
	}
	r.Windows[1].Seconds = 0
	c, err := ParseCondition("rate>=target")
	require.NoError(t, err)
	require.Equal(t, Objective{Expression: "rate>=target", Value: 1010, Reason: "there was no window"}, c.Evaluate(r))
}

func TestTableOfStages(t *testing.T) {
	r := measuredRun()
	r.Windows = []Window{
		{Seconds: 2, Operations: 2000, Target: 1000, P50: 1e6, P99: 2e6, Max: 3e6},
		{Seconds: 1.5, Operations: 2900, Target: 2000, P50: 4e6, P99: 5e6, Max: 6e6, Errors: 7},
	}
	var out strings.Builder
	require.NoError(t, r.WriteTable(&out))
	require.Contains(t, out.String(), `
stage  time  planned   achieved     p50     p99     max  errors
1        2s   1000/s     1000/s  1.00ms  2.00ms  3.00ms       0
2      1.5s   2000/s  1933.33/s  4.00ms  5.00ms  6.00ms       7

`[1:])
}

func TestConditions(t *testing.T) {
	for expression, want := range map[string]struct {
		value float64
		ok    bool
	}{
		"p20<5ms":                    {1, true},
		"p50<5ms":                    {20, false},
		"p50 < 0.021 s":              {0.020, true},
		"service.p99.9<=20ms":        {10, true},
		"response.p99.9<=19ms":       {20, false},
		"lag.max<200us":              {100, true},
		"lag.max<200µs":              {100, true},
		"echo.p50<1ms":               {1, false},
		"echo.p99<=1001us":           {1000, true},
		"echo.max>8.9ms":             {9, true},
		"echo.min<1001us":            {1000, true},
		"echo.mean<1.09ms":           {1.08, true},
		"echo.service.p100<501000ns": {500_000, true},
		"GET/x-1.p99<=0.5m":          {0.02 / 60, true},
		"connect.p99<100ms":          {50, true},
		"max<1s":                     {0.02, true},
		"errors==0":                  {5, false},
		"errors!=0":                  {5, true},
		"lost==0":                    {0, true},
		"reordered<=2":               {2, true},
		"duplicated<3":               {3, false},
		"corrupt>4":                  {4, false},
		"connect_failed==0":          {1, false},
		"count>=400":                 {400, true},
		"censored<4":                 {4, false},
		"echo.count==100":            {100, true},
		"echo.censored==3":           {3, true},
		"echo.rate>=50":              {50, true},
		"rate>=0.99*target":          {1000, true},
		"rate>=1.01 * target":        {1000, false},
		"rate>=target":               {1000, true},
		"rate>=1e3":                  {1000, true},
		"rate>=1.5E+3":               {1000, false},
		"message_rate>1999.9":        {2000, true},
		"cpu_us_per_message<12":      {10, true},
		"rss_per_conn<4KiB":          {5, false},
		"rss_per_conn<5.2kB":         {5.12, true},
		"rss_per_conn<=5120B":        {5120, true},
		"max_rss<=1MiB":              {1, true},
		" p20 \t<\t5 ms ":            {1, true},
	} {
		t.Run(expression, func(t *testing.T) {
			c, err := ParseCondition(expression)
			require.NoError(t, err)
			require.Equal(t, expression, c.String())
			got := c.Evaluate(measuredRun())
			require.Equal(t, expression, got.Expression)
			require.Empty(t, got.Reason)
			require.InDelta(t, want.value, got.Value, 5e-3*want.value)
			require.Equal(t, want.ok, got.OK)
		})
	}
}

func TestConditionsThatCannotBeTold(t *testing.T) {
	for expression, want := range map[string]struct {
		change func(*Run)
		reason string
	}{
		"p99<5ms":              {func(r *Run) { r.Operations = nil }, "nothing was recorded"},
		"lag.p99<5ms":          {func(r *Run) { r.Operations["GET/x-1"].Lag = nil }, "nothing was recorded"},
		"ecko.p99<5ms":         {func(*Run) {}, `the run has no operation "ecko", only GET/x-1, echo`},
		"ecko.count>0":         {func(*Run) {}, `the run has no operation "ecko", only GET/x-1, echo`},
		"rate<0.99*target":     {func(r *Run) { r.Target = 0 }, "the run had no target"},
		"rate<1":               {func(r *Run) { r.Windows = nil }, "there was no window"},
		"cpu_us_per_message<1": {func(r *Run) { r.Server = nil }, "nobody watched the server"},
		"cpu_us_per_message<2": {func(r *Run) { r.Server.Begin.RSS, r.Server.End = 1, Sample{} }, "the server was not there in the end"},
		"rss_per_conn<1B":      {func(r *Run) { r.Server = nil }, "nobody watched the server"},
		"max_rss<1B":           {func(r *Run) { r.Server = nil }, "nobody watched the server"},
		"rss_per_conn<2B":      {func(r *Run) { r.Connect.Made = 0 }, "there was no connection"},
		"max<90m":              {func(r *Run) { r.Operations["echo"].Response.Record(int64(3 * time.Hour)) }, "it is beyond the hour that histograms reach to"},
	} {
		t.Run(expression, func(t *testing.T) {
			r := measuredRun()
			want.change(r)
			c, err := ParseCondition(expression)
			require.NoError(t, err)
			got := c.Evaluate(r)
			require.Equal(t, want.reason, got.Reason)
			require.False(t, got.OK)
		})
	}
}

func TestConditionErrorsNameThePlace(t *testing.T) {
	for expression, want := range map[string]string{
		"":                   `at 1: a quantity is missing, such as p99`,
		"<5ms":               `at 1: a quantity is missing`,
		"p99":                `at 4: one of < <= > >= == != is missing`,
		"p99=5ms":            `at 4: one of < <= > >= == != is missing`,
		"p99 * 2<5ms":        `at 5: one of < <= > >= == != is missing`,
		"p99<":               `at 5: a number is missing`,
		"p99<-5ms":           `at 5: a number is missing`,
		"p99<1.2.3ms":        `at 5: a number is missing`,
		"p99<5":              `at 6: a unit is missing, one of ns us µs ms s m`,
		"p99<5 parsec":       `at 7: "parsec" is no unit of p99: ns us µs ms s m`,
		"p99<5µ":             `at 6: "µ" is no unit of p99`,
		"p99<5µs!":           `at 8: "!" is too much`,
		"p99<5ms 6":          `at 9: "6" is too much`,
		"p0<5ms":             `at 1: p0 is no percentile: p is followed by a number above 0 and up to 100`,
		" echo.p101<5ms":     `at 2: p101 is no percentile`,
		"p9.9.9<5ms":         `at 1: p9.9.9 is no percentile`,
		"speed>5":            `at 1: "speed" is no quantity: there are rate, message_rate, count, censored, errors,`,
		"echo.errors==0":     `at 1: "echo.errors" is no quantity`,
		"echo.connect.p9<1s": `at 1: connect belongs to no operation`,
		"errors==0ms":        `at 10: errors is a number without a unit, not in "ms"`,
		"rss_per_conn<4":     `at 15: a unit is missing, one of B KiB MiB GiB kB MB GB`,
		"rss_per_conn<4ms":   `at 15: "ms" is no unit of rss_per_conn`,
		"rate>=0.9*":         `at 11: target is missing`,
		"rate>=0.9*targets":  `at 11: target is missing`,
		"p99<2*target":       `at 7: only rate goes with target, not p99`,
		"errors<target":      `at 8: only rate goes with target, not errors`,
		"rate>1e":            `at 7: rate is a number without a unit, not in "e"`,
	} {
		t.Run(expression, func(t *testing.T) {
			c, err := ParseCondition(expression)
			require.ErrorContains(t, err, `objective "`)
			require.ErrorContains(t, err, want)
			require.Nil(t, c)
		})
	}
	all, err := ParseConditions([]string{"p99<5ms", "x"})
	require.ErrorContains(t, err, `objective "x": at 1: `)
	require.Nil(t, all)
}

func TestExitCode(t *testing.T) {
	conditions, err := ParseConditions([]string{"lost==0", "count>0"})
	require.NoError(t, err)
	r := measuredRun()
	require.Equal(t, 0, r.ExitCode())
	r.Judge(conditions)
	require.Len(t, r.SLO, 2)
	require.Equal(t, 0, r.ExitCode())
	r.Check.Lost = 1
	r.Judge(conditions)
	require.Len(t, r.SLO, 2)
	require.Equal(t, 99, r.ExitCode())
	r.Invalid = []string{"generator-limited"}
	require.Equal(t, 2, r.ExitCode())
	r.SLO = nil
	require.Equal(t, 2, r.ExitCode())
}

// FuzzCondition finds no text that is read as a condition and cannot be evaluated.
func FuzzCondition(f *testing.F) {
	for _, seed := range []string{"p99<5ms", "echo.service.p99.9<=20µs", "rate>=0.99*target", "rss_per_conn<4KiB", "errors!=1e3"} {
		f.Add(seed)
	}
	r := measuredRun()
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCondition(text)
		if err != nil {
			require.Nil(t, c)
			return
		}
		if got := c.Evaluate(r); got.OK {
			require.Empty(t, got.Reason)
		}
	})
}

// What is lost of datagrams is a share of all, and a fault only if it is one of a stream.
func TestLoss(t *testing.T) {
	r := measuredRun()
	r.Check = Check{Checked: 3, Lost: 1, Late: 1, Reordered: 2}
	for expression, want := range map[string]Objective{
		"loss<=0.25": {Value: 0.25, OK: true},
		"loss<0.25":  {Value: 0.25},
		"late==1":    {Value: 1, OK: true},
	} {
		c, err := ParseCondition(expression)
		require.NoError(t, err)
		want.Expression = expression
		require.Equal(t, want, c.Evaluate(r))
	}
	require.EqualValues(t, 3, r.Check.Faults())
	r.Check.Datagrams = true
	require.Zero(t, r.Check.Faults())
	r.Check.Add(&Check{Checked: 1, Corrupt: 5, Late: 2})
	require.EqualValues(t, 5, r.Check.Faults())
	require.Equal(t, Check{Checked: 4, Lost: 1, Late: 3, Reordered: 2, Corrupt: 5, Datagrams: true}, r.Check)
	var table strings.Builder
	require.NoError(t, r.WriteTable(&table))
	require.Contains(t, table.String(), "4 answers: 1 lost (of them 3 late), 2 reordered, 0 duplicated, 5 corrupt\n")

	r.Check = Check{}
	c, err := ParseCondition("loss==0")
	require.NoError(t, err)
	require.Equal(t, Objective{Expression: "loss==0", Reason: "nothing was checked"}, c.Evaluate(r))
}
