package result

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/require"
)

var logBegin = time.Date(2026, 11, 23, 12, 0, 0, 1_001_000, time.UTC)

func testHeader(index, of int) LogHeader {
	return LogHeader{Run: "run-1", ConfigHash: "abc", Shard: Shard{index, of}, Begin: logBegin}
}

// entry is what happened in that second after the begin of the first window.
func entry(second int, operation, kind string, h *Histogram) Entry {
	begin := logBegin.Truncate(time.Millisecond).Add(time.Duration(second) * time.Second)
	return Entry{Begin: begin, Length: 1001 * time.Millisecond, Operation: operation, Kind: kind, Histogram: h}
}

func writeLog(t testing.TB, header LogHeader, entries ...Entry) string {
	var out bytes.Buffer
	w, err := NewLogWriter(&out, header)
	require.NoError(t, err)
	for _, e := range entries {
		require.NoError(t, w.Write(e))
	}
	return out.String()
}

func readLog(text string) (LogHeader, []Entry, error) {
	l, err := NewLogReader(strings.NewReader(text))
	if err != nil {
		return LogHeader{}, nil, err
	}
	var all []Entry
	for {
		e, err := l.Next()
		if errors.Is(err, io.EOF) {
			return l.Header, all, nil
		}
		if err != nil {
			return l.Header, all, err
		}
		all = append(all, e)
	}
}

func TestLog(t *testing.T) {
	for _, header := range []LogHeader{testHeader(1, 1), testHeader(2, 3)} {
		want := []Entry{
			entry(-1, "echo", KindResponse, latencies(seeded(1), 1000)),
			entry(-1, "a.b/c", KindLag, NewHistogram()),
			entry(0, "echo", KindService, latencies(seeded(2), 1000)),
		}
		text := writeLog(t, header, want...)
		gotHeader, got, err := readLog(text)
		require.NoError(t, err)
		require.Equal(t, header, gotHeader)
		require.Equal(t, want, got, "the histograms that were written have not changed, and neither has what was read")

		// The library's own reader stands for the other tools.
		library := hdrhistogram.NewHistogramLogReader(strings.NewReader(text))
		for _, e := range want {
			h, err := library.NextIntervalHistogram()
			require.NoError(t, err)
			require.True(t, e.Histogram.Equals(h))
			require.Equal(t, e.Operation+"."+e.Kind+header.Shard.tag(), h.Tag())
			require.InDelta(t, e.Begin.UnixMilli(), h.StartTimeMs(), 1)
			require.InDelta(t, e.Begin.Add(e.Length).UnixMilli(), h.EndTimeMs(), 1)
		}
		h, err := library.NextIntervalHistogram()
		require.NoError(t, err)
		require.Nil(t, h)
	}
	require.Contains(t, writeLog(t, testHeader(2, 3), entry(0, "echo", KindLag, NewHistogram())), "\nTag=echo.lag.2of3,1795435200.001000,1.001000,")
}

func TestLogWriterRefuses(t *testing.T) {
	w, err := NewLogWriter(io.Discard, testHeader(1, 1))
	require.NoError(t, err)
	require.EqualError(t, w.Write(entry(0, "a b", KindLag, NewHistogram())), `log: the name of operation "a b" is empty, or has a comma or a space`)
	require.EqualError(t, w.Write(entry(0, "", KindLag, NewHistogram())), `log: the name of operation "" is empty, or has a comma or a space`)
	require.EqualError(t, w.Write(entry(0, "a", "total", NewHistogram())), `log: "total" is no kind of histogram`)
}

func TestLogReaderRefusesWhatIsNone(t *testing.T) {
	good := writeLog(t, testHeader(2, 3), entry(0, "echo", KindResponse, latencies(seeded(1), 10)), entry(1, "echo", KindResponse, NewHistogram()))
	lines := strings.SplitAfter(good, "\n")
	first := len(lines) - 2 - 1 // of the two entries; the last one is empty
	replace := func(old, new string) string {
		require.Contains(t, good, old)
		return strings.Replace(good, old, new, 1)
	}
	for want, text := range map[string]string{
		`it does not begin with a line "#[strand ...]"`:                               "",
		`: it is no log of a load run`:                                                strings.Join(lines[3:], ""),
		`line 2: invalid character`:                                                   replace("#[strand {", "#[strand x"),
		`line 5: "Tag=echo.response.2of3" is not Tag=OPERATION.KIND.1of3`:             replace(`"index":2`, `"index":1`),
		`line 5: "Tag=.response.2of3" is not Tag=`:                                    replace("Tag=echo.", "Tag=."),
		`line 5: "Tag=echo.total.2of3" is not Tag=`:                                   replace(".response.", ".total."),
		`line 5: it has 4 fields, not tag, begin, length, maximum and histogram`:      replace("Tag=echo.response.2of3,", ""),
		`line 6: it has 2 fields`:                                                     strings.Join(lines[:first+1], "") + lines[first+1][:30],
		`line 6: histogram: `:                                                         good[:len(good)-10],
		`line 5: "-1795435200.001000" is no time in seconds`:                          replace(",1795435200.001", ",-1795435200.001"),
		`line 5: "NaN" is no time in seconds`:                                         replace(",1.001000,", ",NaN,"),
		`line 6: it begins before the line in front of it`:                            strings.Join(append(lines[:first:first], lines[first+1], lines[first]), ""),
		`line 7: bufio.Scanner: token too long`:                                       good + strings.Repeat("x", maxLine+1),
		`line 5: histogram: it is of 1 ns to 100 ns with 2 digits, wanted 1000 ns to`: replace(strings.TrimSpace(strings.Split(lines[first], ",")[4]), compressedHistogram(1, 100, 2, 1, nil)),
	} {
		t.Run(want, func(t *testing.T) {
			_, _, err := readLog(text)
			require.ErrorContains(t, err, want)
		})
	}
}

func TestMergedLogIsThatOfOneRun(t *testing.T) {
	const shards = 3
	random := seeded(1)
	var whole []Entry
	parts := make([][]Entry, shards)
	for second := -1; second < 3; second++ {
		for _, operation := range []string{"get", "set"} {
			for _, kind := range []string{KindLag, KindResponse, KindService} {
				sum := NewHistogram()
				for i := range parts {
					if operation == "set" && i == 1 {
						continue // shard 2 has none of them
					}
					h := latencies(random, 500)
					require.NoError(t, sum.Add(h))
					e := entry(second, operation, kind, h)
					e.Begin = e.Begin.Add(time.Duration(i) * time.Millisecond)
					parts[i] = append(parts[i], e)
				}
				whole = append(whole, entry(second, operation, kind, sum))
			}
		}
	}
	var logs []*LogReader
	for i, entries := range parts {
		header := testHeader(i+1, shards)
		header.Begin = header.Begin.Add(time.Duration(i) * time.Millisecond)
		l, err := NewLogReader(strings.NewReader(writeLog(t, header, entries...)))
		require.NoError(t, err)
		logs = append(logs, l)
	}
	logs[0], logs[2] = logs[2], logs[0]
	var out bytes.Buffer
	require.NoError(t, MergeLogs(&out, logs))
	header := testHeader(0, 0)
	require.Equal(t, writeLog(t, header, whole...), out.String())
}

func TestMergeLogsRefuses(t *testing.T) {
	for want, change := range map[string]func(headers []LogHeader) []LogHeader{
		"there is no log to merge":                                        func([]LogHeader) []LogHeader { return nil },
		"of 2 shards these are missing: 1":                                func(h []LogHeader) []LogHeader { return h[1:] },
		"shard 1 of 2 is there twice":                                     func(h []LogHeader) []LogHeader { return append(h, h[0]) },
		`log of shard 2: run ID "x" is not "run-1"`:                       func(h []LogHeader) []LogHeader { h[1].Run = "x"; return h },
		`log of shard 2: config hash "x" is not "abc"`:                    func(h []LogHeader) []LogHeader { h[1].ConfigHash = "x"; return h },
		"log of shard 2: it began 1.5s after shard 1, and 1s is the most": func(h []LogHeader) []LogHeader { h[1].Begin = h[0].Begin.Add(1500 * time.Millisecond); return h },
	} {
		t.Run(want, func(t *testing.T) {
			var logs []*LogReader
			for _, header := range change([]LogHeader{testHeader(1, 2), testHeader(2, 2)}) {
				l, err := NewLogReader(strings.NewReader(writeLog(t, header)))
				require.NoError(t, err)
				logs = append(logs, l)
			}
			require.EqualError(t, MergeLogs(io.Discard, logs), want)
		})
	}
	l, err := NewLogReader(strings.NewReader(writeLog(t, testHeader(1, 1)) + "Tag=x\n"))
	require.NoError(t, err)
	require.EqualError(t, MergeLogs(io.Discard, []*LogReader{l}), "log of shard 1: line 5: it has 1 fields, not tag, begin, length, maximum and histogram")
}

// FuzzLog finds no log that is read and not the same when it is written and read again.
func FuzzLog(f *testing.F) {
	f.Add(writeLog(f, testHeader(2, 3), entry(0, "echo", KindResponse, latencies(seeded(1), 10))))
	f.Add(writeLog(f, testHeader(1, 1), entry(0, "echo", KindLag, NewHistogram())))
	f.Fuzz(func(t *testing.T, text string) {
		header, entries, err := readLog(text)
		if err != nil {
			return
		}
		var out bytes.Buffer
		w, err := NewLogWriter(&out, header)
		require.NoError(t, err)
		for _, e := range entries {
			if err := w.Write(e); err != nil {
				require.ErrorContains(t, err, "the name of operation")
				return
			}
		}
		againHeader, again, err := readLog(out.String())
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(header), fmt.Sprint(againHeader))
		require.Equal(t, len(entries), len(again))
		for i := range again {
			require.Equal(t, entries[i].Begin, again[i].Begin)
			requireSame(t, entries[i].Histogram, again[i].Histogram)
		}
	})
}
