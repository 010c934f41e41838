package result

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/require"
)

// latencies is a histogram of n values between a microsecond and some seconds, as a service would have.
func latencies(random *rand.Rand, n int) *Histogram {
	h := NewHistogram()
	for range n {
		h.Record(int64(float64(time.Millisecond) * math.Exp(2*random.NormFloat64())))
	}
	return h
}

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, seed)) }

func requireSame(t testing.TB, want, got *Histogram) {
	t.Helper()
	require.True(t, want.Equals(got.Histogram), "the histograms differ: %+v and %+v", want.Summary(), got.Summary())
	require.Equal(t, want.Over, got.Over)
}

func TestHistogramJSON(t *testing.T) {
	h := latencies(seeded(1), 10_000)
	h.Record(int64(2 * time.Hour))
	text, err := json.Marshal(h)
	require.NoError(t, err)

	var back Histogram
	require.NoError(t, json.Unmarshal(text, &back))
	requireSame(t, h, &back)

	var read struct {
		Count int64   `json:"count"`
		Min   int64   `json:"min_ns"`
		Mean  float64 `json:"mean_ns"`
		Max   int64   `json:"max_ns"`
		P50   int64   `json:"p50_ns"`
		P75   int64   `json:"p75_ns"`
		P90   int64   `json:"p90_ns"`
		P95   int64   `json:"p95_ns"`
		P99   int64   `json:"p99_ns"`
		P999  int64   `json:"p999_ns"`
		P9999 int64   `json:"p9999_ns"`
		Over  int64   `json:"over"`

		Percentiles []Point `json:"percentiles"`
	}
	require.NoError(t, json.Unmarshal(text, &read))
	require.EqualValues(t, 10_001, read.Count)
	require.EqualValues(t, 1, read.Over)
	require.Equal(t, h.Min(), read.Min)
	require.Equal(t, h.Mean(), read.Mean)
	require.InEpsilon(t, time.Hour, read.Max, 1e-3)
	for percentile, value := range map[float64]int64{
		50: read.P50, 75: read.P75, 90: read.P90, 95: read.P95, 99: read.P99, 99.9: read.P999, 99.99: read.P9999,
	} {
		require.Equal(t, h.ValueAtQuantile(percentile), value, percentile)
	}

	points := read.Percentiles
	require.Greater(t, len(points), 50)
	require.Less(t, len(points), 200)
	for i := 1; i < len(points); i++ {
		require.GreaterOrEqual(t, points[i].Percentile, points[i-1].Percentile)
		require.GreaterOrEqual(t, points[i].Latency, points[i-1].Latency)
	}
	require.Zero(t, points[0].Percentile)
	require.Equal(t, Point{100, read.Max}, points[len(points)-1], "the curve ends at the greatest value")
}

func TestEmptyHistogramJSON(t *testing.T) {
	text, err := json.Marshal(NewHistogram())
	require.NoError(t, err)
	require.Contains(t, string(text), `"count":0,"min_ns":0,"mean_ns":0,"max_ns":0,`)
	require.Contains(t, string(text), `"percentiles":null`)
	var back Histogram
	require.NoError(t, json.Unmarshal(text, &back))
	requireSame(t, NewHistogram(), &back)
}

func TestHistogramAdd(t *testing.T) {
	random := seeded(2)
	whole, sum := NewHistogram(), NewHistogram()
	parts := []*Histogram{NewHistogram(), NewHistogram(), NewHistogram()}
	for range 30_000 {
		latency := random.Int64N(2 * Highest)
		whole.Record(latency)
		parts[random.IntN(len(parts))].Record(latency)
	}
	for _, part := range append(parts, nil, &Histogram{}, NewHistogram()) {
		require.NoError(t, sum.Add(part))
	}
	requireSame(t, whole, sum)
	require.NotZero(t, sum.Over)

	clone := sum.Clone()
	sum.Reset()
	requireSame(t, NewHistogram(), sum)
	requireSame(t, whole, clone)

	other := &Histogram{Histogram: hdrhistogram.New(1, 1000, 2)}
	require.NoError(t, other.RecordValue(1))
	require.EqualError(t, sum.Add(other), "histogram of 1 ns to 1000 ns with 2 digits does not go with one of 1000 ns to 3600000000000 ns with 3 digits")

	many := NewHistogram()
	require.NoError(t, many.RecordValues(Lowest, math.MaxInt64))
	before := many.Clone()
	require.ErrorContains(t, many.Add(clone), "are too many for one")
	requireSame(t, before, many)
}

// compressedHistogram makes the compressed form of what need not be a histogram.
func compressedHistogram(lowest, highest int64, digits int32, ratio float64, payload []byte) string {
	var out, body bytes.Buffer
	body = *bytes.NewBuffer(binary.BigEndian.AppendUint32(nil, uint32(hdrhistogram.V2EncodingCookieBase|0x10)))
	for _, v := range []any{int32(len(payload)), int32(0), digits, lowest, highest, ratio, payload} {
		_ = binary.Write(&body, binary.BigEndian, v)
	}
	var compressed bytes.Buffer
	w := zlib.NewWriter(&compressed)
	_, _ = w.Write(body.Bytes())
	_ = w.Close()
	_ = binary.Write(&out, binary.BigEndian, []int32{hdrhistogram.V2CompressedEncodingCookieBase | 0x10, int32(compressed.Len())})
	out.Write(compressed.Bytes())
	return base64.StdEncoding.EncodeToString(out.Bytes())
}

func TestHistogramRefusesWhatIsNone(t *testing.T) {
	good, err := latencies(seeded(3), 100).Compress()
	require.NoError(t, err)
	bomb := compressedHistogram(Lowest, Highest, Digits, 1, make([]byte, 1<<20))
	for name, c := range map[string]struct{ text, want string }{
		"no object":          {`7`, "histogram: json: cannot unmarshal number"},
		"null":               {`null`, "histogram: it has no hdr"},
		"no hdr":             {`{"over":0}`, "histogram: it has no hdr"},
		"no base64":          {`{"hdr":"!!!"}`, "illegal base64 data at input byte 0"},
		"too short":          {`{"hdr":"HIST"}`, "3 bytes are too few"},
		"cut short":          {`{"hdr":"` + good[:len(good)/8*4] + `"}`, "histogram: "},
		"not compressed":     {`{"hdr":"` + base64.StdEncoding.EncodeToString(make([]byte, 60)) + `"}`, "zlib: invalid header"},
		"too wide":           {`{"hdr":"` + compressedHistogram(1, math.MaxInt64, 5, 1, nil) + `"}`, "it is of 1 ns to 9223372036854775807 ns with 5 digits, wanted 1000 ns to"},
		"another unit":       {`{"hdr":"` + compressedHistogram(Lowest, Highest, Digits, 1000, nil) + `"}`, "in units of 1000"},
		"too many counts":    {`{"hdr":"` + bomb + `"}`, "exceeds the maximum"},
		"negative over":      {`{"over":-1,"hdr":"` + good + `"}`, "-1 of 100 values are over its range"},
		"more over than all": {`{"over":101,"hdr":"` + good + `"}`, "101 of 100 values are over its range"},
	} {
		t.Run(name, func(t *testing.T) {
			kept := latencies(seeded(4), 10)
			before := kept.Clone()
			require.ErrorContains(t, kept.UnmarshalJSON([]byte(c.text)), c.want)
			requireSame(t, before, kept)
		})
	}
}

func TestHostileHistogramTakesLittleMemory(t *testing.T) {
	wide := compressedHistogram(1, math.MaxInt64, 5, 1, nil)
	require.Less(t, len(wide), 200)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := Decompress(wide)
	runtime.ReadMemStats(&after)
	require.Error(t, err)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20), "the range that it claims would take 49 MB")
}

// FuzzHistogramJSON finds nothing that is read and cannot be written again without loss.
func FuzzHistogramJSON(f *testing.F) {
	for _, n := range []int{0, 1, 1000} {
		text, err := json.Marshal(latencies(seeded(uint64(n)), n))
		require.NoError(f, err)
		f.Add(string(text))
	}
	f.Add(`{"over":0,"hdr":"` + compressedHistogram(Lowest, Highest, Digits, 1, []byte{1, 2, 3}) + `"}`)
	f.Fuzz(func(t *testing.T, text string) {
		var first, second Histogram
		if json.Unmarshal([]byte(text), &first) != nil {
			return
		}
		if first.Histogram == nil {
			require.Equal(t, "null", strings.TrimSpace(text))
			return
		}
		again, err := json.Marshal(&first)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(again, &second))
		requireSame(t, &first, &second)
	})
}

// FuzzRecorded finds no latencies that are lost or changed on the way through JSON.
func FuzzRecorded(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 255, 255, 255, 255, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, values []byte) {
		h := NewHistogram()
		for ; len(values) >= 8; values = values[8:] {
			h.Record(int64(binary.BigEndian.Uint64(values)))
		}
		text, err := json.Marshal(h)
		require.NoError(t, err)
		var back Histogram
		require.NoError(t, json.Unmarshal(text, &back))
		requireSame(t, h, &back)
	})
}
