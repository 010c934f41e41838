package load

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/result"
)

func parsedStages(t *testing.T, texts ...string) (all []Stage) {
	for _, text := range texts {
		s, err := ParseStage(text)
		require.NoError(t, err)
		require.Equal(t, text, s.String())
		all = append(all, s)
	}
	return all
}

// stagedStarts are all planned starts of threads that share the connections, by stage; those of the warm-up are the first.
func stagedStarts(t *testing.T, o *Options, threads []int) (stages [][]int64) {
	var all int
	for _, conns := range threads {
		all += conns
	}
	ends := []int64{int64(o.Warmup)}
	for _, s := range o.Stages {
		ends = append(ends, ends[len(ends)-1]+int64(s.Duration))
	}
	stages = make([][]int64, len(ends))
	for i, conns := range threads {
		p := newStagedPlan(o.Pace, newCurve(o), conns, all, float64(i)/float64(len(threads)), rand.New(rand.NewPCG(7, uint64(i))))
		p.start(1e9)
		for last := int64(0); p.at-1e9 < ends[len(ends)-1]; p.advance() {
			at := p.at - 1e9
			if at < last || p.conn >= conns { // require takes its time
				require.Fail(t, "out of order", "%d after %d, on connection %d of %d", at, last, p.conn, conns)
			}
			last = at
			stage := slices.IndexFunc(ends, func(end int64) bool { return at < end })
			stages[stage] = append(stages[stage], at)
		}
		require.Equal(t, 1e9+ends[len(ends)-1], p.at, "nothing is planned after the last stage")
	}
	return stages
}

// Each stage has as many as its rates say: steps, ramps up, down and from nothing, an odd number, a short one and one whose bounds are no whole numbers.
func TestStagesPlanWhatTheySay(t *testing.T) {
	o := &Options{Warmup: 1500 * time.Millisecond, Pace: PaceConstant, Stages: parsedStages(t,
		"1000:10s", "2000:10s", "2000-4000:30s", "4000-0:1s", "0-100:2s", "333.3:10s", "70000:100ms", "1:7s")}
	want := []int{1500, 10000, 20000, 90000, 2000, 100, 3333, 7000, 7}
	var counts []int
	for _, stage := range stagedStarts(t, o, []int{10}) {
		counts = append(counts, len(stage))
	}
	require.Equal(t, want, counts)

	// The same of several threads, of which each may have one more or less.
	for i, stage := range stagedStarts(t, o, []int{4, 3, 3}) {
		require.InDelta(t, want[i], len(stage), 3, "stage %d", i)
	}
	require.InDelta(t, 132440, o.planned(0, o.measured()), 1e-6)
	require.InDelta(t, 1500, o.planned(-o.Warmup, 0), 1e-6)
	require.InDelta(t, 1000+10000+1000, o.planned(-time.Second, 10500*time.Millisecond), 1e-6)
	require.InDelta(t, 2000+2000+2000.0/60, o.planned(19*time.Second, 21*time.Second), 1e-6)
	require.Zero(t, o.planned(100*time.Second, 101*time.Second))
}

// In a step the distance is that of its rate, and in a ramp the rate at any time is the one that lies on the line.
func TestStartsWithinStages(t *testing.T) {
	o := &Options{Pace: PaceConstant, Stages: parsedStages(t, "1000:2s", "1000-3000:10s")}
	stages := stagedStarts(t, o, []int{5})
	worst := 0.0
	for i, at := range stages[1] {
		worst = max(worst, math.Abs(float64(at)-1e6*float64(i)))
	}
	require.Less(t, worst, 2.0)
	ramp := stages[2]
	require.Equal(t, 20000, len(ramp))
	worst = 0
	for i, at := range ramp {
		// n = 1000 t + 100 t²
		seconds := float64(at-2e9) / 1e9
		worst = max(worst, math.Abs(float64(i)-(1000*seconds+100*seconds*seconds)))
	}
	require.Less(t, worst, 1e-4)
	require.EqualValues(t, 2e9, ramp[0])
}

// Of what is random there are as many as chance has it: a Poisson number in each stage and each part of a ramp, and the same seed plans the same.
func TestRandomStages(t *testing.T) {
	for _, pace := range []string{PacePoisson, PaceUniform} {
		t.Run(pace, func(t *testing.T) {
			o := &Options{Warmup: time.Second, Pace: pace, Stages: parsedStages(t, "1000:20s", "4000:10s", "500-4500:20s")}
			stages := stagedStarts(t, o, []int{6, 4})
			require.Equal(t, stages, stagedStarts(t, o, []int{6, 4}))
			bound := func(n float64) float64 {
				if pace == PaceUniform {
					return 20 // two for each connection: it has one more or less at each end
				}
				return 5 * math.Sqrt(n) // 5 sigma
			}
			for i, n := range []float64{1000, 20000, 40000, 50000} {
				require.InDelta(t, n, len(stages[i]), bound(n), "stage %d", i)
			}
			for part := range 4 {
				from, to := time.Duration(30+5*part)*time.Second, time.Duration(35+5*part)*time.Second
				n := 0
				for _, at := range stages[3] {
					if at >= int64(from+o.Warmup) && at < int64(to+o.Warmup) {
						n++
					}
				}
				want := o.planned(from, to)
				require.InDelta(t, 5*(1000+1000*float64(part)), want, 1e-6)
				require.InDelta(t, want, n, bound(want), "part %d of the ramp", part)
			}
		})
	}
}

// Connections of pace uniform have the distance of the rate, which changes with it.
func TestUniformStages(t *testing.T) {
	const conns = 5
	o := &Options{Pace: PaceUniform, Stages: parsedStages(t, "100:2s", "400:2s")}
	p := newStagedPlan(o.Pace, newCurve(o), conns, conns, 0, rand.New(rand.NewPCG(1, 1)))
	last := make([]int64, conns)
	for p.start(1); p.at < 4e9; p.advance() {
		if before := last[p.conn]; before > 0 {
			switch {
			case p.at < 2e9:
				require.InDelta(t, 50e6, p.at-before, 2)
			case before > 2e9:
				require.InDelta(t, 12.5e6, p.at-before, 2)
			}
		}
		last[p.conn] = p.at
	}
}

func TestStagesThatCannotBe(t *testing.T) {
	for text, want := range map[string]string{
		"1000":               "is not RATE:DURATION",
		"1000:":              "no duration",
		"1000:10":            "no duration",
		"x:10s":              "no rate",
		"1-:10s":             "no rate",
		"-1:10s":             "no rate",
		"NaN:10s":            "a rate is more than 0",
		"0:10s":              "a rate is more than 0",
		"0-0:1s":             "a rate is more than 0",
		"99999999999:10s":    "at most 2147483647",
		"1000:0s":            "between 1ms and 1000 hours",
		"1000:-1s":           "between 1ms and 1000 hours",
		"1000-2000-3000:10s": "no rate",
	} {
		_, err := ParseStage(text)
		require.ErrorContains(t, err, want, text)
	}
	for want, change := range map[string]func(*Options){
		"rate: stages have their own":          func(o *Options) { o.Rate = 5 },
		"duration: stages have their own":      func(o *Options) { o.Window = time.Second },
		"windows: each stage is one":           func(o *Options) { o.Windows = 1 },
		"stages: pace closed has no rate":      func(o *Options) { o.Pace = PaceClosed },
		"stages: pace max has no rate":         func(o *Options) { o.Pace = PaceMax },
		"stages: workload push has none":       func(o *Options) { o.Workload = WorkloadPush },
		"stages: 1001 are more than 1000":      func(o *Options) { o.Stages = slices.Repeat(o.Stages, 1001) },
		"stages: stage 0:1s: a rate is more":   func(o *Options) { o.Stages = []Stage{{0, 0, time.Second}} },
		`pace: unknown pace "slow" (there are`: func(o *Options) { o.Pace = "slow" },
	} {
		o := Options{Addr: "127.0.0.1:1", Stages: parsedStages(t, "1000:1s")}
		require.NoError(t, o.Validate())
		change(&o)
		require.ErrorContains(t, o.Validate(), want)
	}
}

// What is taken up late counts for the stage that it was planned in, and the worst stage decides, however many others were kept.
func TestStagesAreJudgedOneByOne(t *testing.T) {
	const second = int64(time.Second)
	spans := []int64{100 * second, 110 * second, 111 * second, 120 * second}
	o := Options{Addr: "127.0.0.1:1", Stages: parsedStages(t, "100:10s", "100:1s", "100:9s")}.withDefaults()
	kinds := o.kinds()
	r := &run{opts: o, kinds: kinds, spans: spans, result: new(result.Run)}
	r.total = *newSegment(kinds)
	r.waited = [][]int64{{9 * second, 10 * second}, {second / 100, second}, {9 * second, 9 * second}}
	at := func(span int, takenUp, planned float64) {
		s := newSegment(kinds)
		s.from, s.span = spans[0], span
		s.arrive(int64(takenUp*1e9), int64(planned*1e9), spans)
		r.total.add(s)
		r.late.span = span
	}
	at(-1, 99.9, 99.8) // the warm-up is not judged
	at(0, 100.5, 99.9)
	at(0, 100.5, 100.5)
	at(0, 105, 101) // late, but in its stage
	r.judgeLate()
	at(1, 110.001, 109.9999) // a moment after its stage is no fault
	at(1, 110.5, 110.5)
	at(1, 110.5, 110.4)
	r.judgeLate()
	at(2, 112, 110.9) // of stage 2, late by 1.1 s
	at(2, 112, 112)
	at(3, 121, 119) // in the drain
	at(3, 120, 119.99999)
	r.judgeLate()
	require.Equal(t, []int64{3, 3, 3}, r.total.due)
	require.Equal(t, []int64{0, 1, 1}, r.total.overdue)
	require.Equal(t, []string{
		"generator-limited in stage 1: of 100 operations one began 4.001366s or more after it could have, and 2ms are allowed",
		"generator-limited in stage 2: 66.67 % of the planned operations were begun when they were due, and 99.00 % are demanded",
		"generator-limited in stage 2: a thread was busy for 99.0 % of the time, and 95.0 % are allowed",
	}, r.verdict())
	require.InDelta(t, 2.0/3, r.result.Generator.Achieved, 1e-9)
}
