package result

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"time"
)

// MergeLogs writes to w the log of all shards of a run together, as one process would have written it: histograms of the same second,
// operation and kind are added up. It refuses logs that do not belong together as Merge does. Of each log it has one second in memory.
func MergeLogs(w io.Writer, logs []*LogReader) error {
	header, err := commonHeader(logs)
	if err != nil {
		return err
	}
	out, err := NewLogWriter(w, header)
	if err != nil {
		return err
	}
	var sources []*source
	for _, l := range logs {
		s := &source{log: l}
		if err := s.advance(); err != nil {
			return err
		}
		sources = append(sources, s)
	}
	for {
		second := math.MaxInt
		for _, s := range sources {
			if s.next != nil {
				second = min(second, s.second())
			}
		}
		if second == math.MaxInt {
			return nil
		}
		entries := make(map[series]*Entry)
		for _, s := range sources {
			for s.next != nil && s.second() <= second {
				if err := addEntry(entries, s.next); err != nil {
					return s.failed(err)
				}
				if err := s.advance(); err != nil {
					return err
				}
			}
		}
		if err := writeSecond(out, entries); err != nil {
			return err
		}
	}
}

// commonHeader is that of the merged log, if all belong to one run and none is missing.
func commonHeader(logs []*LogReader) (LogHeader, error) {
	if len(logs) == 0 {
		return LogHeader{}, errors.New("there is no log to merge")
	}
	var shards []Shard
	for _, l := range logs {
		shards = append(shards, l.Header.Shard)
	}
	if err := checkShards(shards); err != nil {
		return LogHeader{}, err
	}
	merged := slices.MinFunc(logs, func(a, b *LogReader) int { return a.Header.Begin.Compare(b.Header.Begin) }).Header
	for _, l := range logs {
		h := l.Header
		switch skew := h.Begin.Sub(merged.Begin); {
		case h.Run != merged.Run:
			return LogHeader{}, fmt.Errorf("log of shard %d: run ID %q is not %q", h.Shard.Index, h.Run, merged.Run)
		case h.ConfigHash != merged.ConfigHash:
			return LogHeader{}, fmt.Errorf("log of shard %d: config hash %q is not %q", h.Shard.Index, h.ConfigHash, merged.ConfigHash)
		case skew > MaxSkew:
			return LogHeader{}, fmt.Errorf("log of shard %d: it began %v after shard %d, and %v is the most", h.Shard.Index, skew, merged.Shard.Index, MaxSkew)
		}
	}
	merged.Shard = Shard{}
	return merged, nil
}

// source is a log on its way, with the entry that comes next; nil at its end.
type source struct {
	log  *LogReader
	next *Entry
}

func (s *source) advance() error {
	entry, err := s.log.Next()
	if errors.Is(err, io.EOF) {
		s.next = nil
		return nil
	}
	if err != nil {
		return s.failed(err)
	}
	s.next = &entry
	return nil
}

func (s *source) failed(err error) error {
	return fmt.Errorf("log of shard %d: %w", s.log.Header.Shard.Index, err)
}

// second is that in which the next entry begins, since the begin of the shard's first window.
func (s *source) second() int { return secondOf(s.next.Begin.Sub(s.log.Header.Begin)) }

// secondOf is the one in which an interval counts that begins then.
func secondOf(begin time.Duration) int { return int(math.Floor(begin.Seconds() + early)) }

// series is what is added up.
type series struct{ operation, kind string }

func addEntry(entries map[series]*Entry, e *Entry) error {
	key := series{e.Operation, e.Kind}
	merged := entries[key]
	if merged == nil {
		entries[key] = e
		return nil
	}
	if e.Begin.Before(merged.Begin) {
		merged.Begin = e.Begin
	}
	merged.Length = max(merged.Length, e.Length)
	return merged.Histogram.Add(e.Histogram)
}

func writeSecond(out *LogWriter, entries map[series]*Entry) error {
	ordered := slices.SortedFunc(maps.Values(entries), func(a, b *Entry) int {
		return cmp.Or(a.Begin.Compare(b.Begin), cmp.Compare(a.Operation, b.Operation), cmp.Compare(a.Kind, b.Kind))
	})
	for _, e := range ordered {
		if err := out.Write(*e); err != nil {
			return err
		}
	}
	return nil
}
