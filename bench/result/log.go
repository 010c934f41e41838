package result

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// LogHeader says which run a log belongs to. It stands in a comment of the log, which tools of HdrHistogram skip.
type LogHeader struct {
	Run        string    `json:"run"` // Run.ID
	ConfigHash string    `json:"config_hash"`
	Shard      Shard     `json:"shard"` // that wrote it
	Begin      time.Time `json:"begin"` // of the first window
}

// LogHeader is that of r's log.
func (r *Run) LogHeader() LogHeader {
	return LogHeader{Run: r.ID, ConfigHash: r.ConfigHash, Shard: r.Shard, Begin: r.Begin}
}

// Entry is one line of a log: what an operation took within a second. Times are in whole milliseconds.
type Entry struct {
	Begin     time.Time
	Length    time.Duration
	Operation string
	Kind      string // KindResponse, KindService or KindLag
	Histogram *Histogram
}

// LogWriter writes an .hlog: the log format of HdrHistogram (https://github.com/HdrHistogram/HdrHistogram, HistogramLogWriter), with
// version 2 of its histograms and times since the epoch. The tag of a line is OPERATION.KIND, and for one shard of several
// OPERATION.KIND.INDEXofOF. It is for one goroutine.
type LogWriter struct {
	log   *hdrhistogram.HistogramLogWriter
	shard Shard
}

// headerPrefix is what our comment begins with.
const headerPrefix = "#[strand "

// NewLogWriter writes the header to w, which should have a buffer.
func NewLogWriter(w io.Writer, header LogHeader) (*LogWriter, error) {
	text, err := json.Marshal(header)
	if err != nil {
		return nil, err
	}
	log := hdrhistogram.NewHistogramLogWriter(w)
	return &LogWriter{log, header.Shard}, errors.Join(
		log.OutputLogFormatVersion(),
		log.OutputComment(headerPrefix[1:]+string(text)+"]"),
		log.OutputStartTime(header.Begin.UnixMilli()),
		log.OutputLegend(),
	)
}

// Write writes one entry, which must not begin before the one before it. The histogram may be reset afterwards.
func (l *LogWriter) Write(e Entry) error {
	if e.Operation == "" || strings.ContainsAny(e.Operation, ", \t\r\n") {
		return fmt.Errorf("log: the name of operation %q is empty, or has a comma or a space", e.Operation)
	}
	if !isKind(e.Kind) {
		return fmt.Errorf("log: %q is no kind of histogram", e.Kind)
	}
	line := *e.Histogram.Histogram // shares the counts, which are only read
	line.SetTag(e.Operation + "." + e.Kind + l.shard.tag())
	line.SetStartTimeMs(e.Begin.UnixMilli())
	line.SetEndTimeMs(e.Begin.Add(e.Length).UnixMilli())
	return l.log.OutputIntervalHistogram(&line)
}

func isKind(name string) bool {
	return slices.Contains([]string{KindResponse, KindService, KindLag}, name)
}

// tag is what stands behind the tag of each line of a shard.
func (s Shard) tag() string {
	if s.Of <= 1 {
		return ""
	}
	return fmt.Sprintf(".%dof%d", s.Index, s.Of)
}

// LogReader reads what a LogWriter has written, an entry at a time. The input may be anything. It is for one goroutine.
type LogReader struct {
	Header LogHeader

	lines *bufio.Scanner
	line  int
	last  time.Time // begin of the entry before
}

// maxLine is more than a line of ours can have: all counts of a histogram in nine bytes each, not compressed at all.
const maxLine = 1 << 20

// NewLogReader reads the header. A log without one is refused: nobody could say which run it belongs to.
func NewLogReader(r io.Reader) (*LogReader, error) {
	l := &LogReader{lines: bufio.NewScanner(r)}
	l.lines.Buffer(nil, maxLine)
	for l.scan() && strings.HasPrefix(l.lines.Text(), "#") {
		text, ours := strings.CutPrefix(l.lines.Text(), headerPrefix)
		if !ours {
			continue
		}
		if err := json.Unmarshal([]byte(strings.TrimSuffix(text, "]")), &l.Header); err != nil {
			return nil, l.failed(err)
		}
		return l, nil
	}
	if err := l.lines.Err(); err != nil {
		return nil, l.failed(err)
	}
	return nil, fmt.Errorf("it does not begin with a line %q: it is no log of a load run", headerPrefix+"...]")
}

func (l *LogReader) scan() bool {
	l.line++
	return l.lines.Scan()
}

func (l *LogReader) failed(err error) error { return fmt.Errorf("line %d: %w", l.line, err) }

// Next returns the next entry, or io.EOF after the last one. Another error names the line.
func (l *LogReader) Next() (Entry, error) {
	for l.scan() {
		line := l.lines.Text()
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, `"StartTimestamp"`) {
			continue
		}
		entry, err := l.parse(line)
		if err == nil && entry.Begin.Before(l.last) {
			err = fmt.Errorf("it begins before the line in front of it")
		}
		if err != nil {
			return Entry{}, l.failed(err)
		}
		l.last = entry.Begin
		return entry, nil
	}
	if err := l.lines.Err(); err != nil {
		return Entry{}, l.failed(err)
	}
	return Entry{}, io.EOF
}

func (l *LogReader) parse(line string) (e Entry, err error) {
	fields := strings.Split(line, ",")
	if len(fields) != 5 {
		return e, fmt.Errorf("it has %d fields, not tag, begin, length, maximum and histogram", len(fields))
	}
	name, ok := strings.CutPrefix(fields[0], "Tag=")
	if ok {
		name, ok = strings.CutSuffix(name, l.Header.Shard.tag())
	}
	e.Operation, e.Kind = cutLast(name)
	if !ok || e.Operation == "" || !isKind(e.Kind) {
		return e, fmt.Errorf("%q is not Tag=OPERATION.KIND%s", fields[0], l.Header.Shard.tag())
	}
	begin, err := parseMillis(fields[1])
	if err != nil {
		return e, err
	}
	length, err := parseMillis(fields[2])
	if err != nil {
		return e, err
	}
	e.Begin, e.Length = time.UnixMilli(begin).UTC(), time.Duration(length)*time.Millisecond
	e.Histogram, err = Decompress(fields[4])
	return e, err
}

// parseMillis reads seconds with a fraction, to the nearest millisecond.
func parseMillis(text string) (int64, error) {
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || !(seconds >= 0 && seconds <= math.MaxUint32) {
		return 0, fmt.Errorf("%q is no time in seconds", text)
	}
	return int64(math.Round(seconds * 1000)), nil
}
