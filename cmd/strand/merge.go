package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/strand-net/strand/bench/result"
)

type mergeCommand struct {
	Files []string `arg:"" name:"file" help:"Results of all shards of one run, as load --json writes them; and with --hlog their logs, which end in .hlog."`
	JSON  string   `name:"json" help:"Write the merged result to this file." placeholder:"FILE"`
	HLog  string   `name:"hlog" help:"Write the merged log of histograms to this file." placeholder:"FILE"`
	SLO   []string `name:"slo" sep:"none" help:"An objective that the merged run must keep, such as 'p99<5ms'; may be repeated. Those of the shards are judged anew in any case." placeholder:"CONDITION"`
}

// logSuffix is what the names of logs end in.
const logSuffix = ".hlog"

func (c *mergeCommand) Run() error {
	results, logs, conditions, err := c.check()
	if err != nil {
		return usageError{err}
	}
	merged, err := mergeResults(results)
	if err != nil {
		return err
	}
	for _, o := range conditions {
		merged.Demand(o)
	}
	if err := writeMerged(merged, logs, c.HLog, c.JSON); err != nil {
		return err
	}
	return verdict(merged)
}

// writeMerged writes what a merge is asked for: the log of histograms from those of the shards and the result, unless their paths are empty, and the table.
func writeMerged(merged *result.Run, logs []string, hlog, json string) error {
	if hlog != "" {
		if err := mergeLogs(hlog, logs, merged); err != nil {
			return err
		}
	}
	if json != "" {
		if err := merged.WriteFile(json); err != nil {
			return fmt.Errorf("json: %w", err)
		}
	}
	return merged.WriteTable(os.Stdout)
}

// check finds what is wrong before anything is read.
func (c *mergeCommand) check() (results, logs []string, conditions []*result.Condition, err error) {
	for _, path := range c.Files {
		if strings.HasSuffix(path, logSuffix) {
			logs = append(logs, path)
		} else {
			results = append(results, path)
		}
	}
	switch {
	case len(results) == 0:
		return nil, nil, nil, errors.New("no result is named, only logs")
	case c.HLog == "" && len(logs) > 0:
		return nil, nil, nil, fmt.Errorf("%s is a log, and there is no --hlog for the merged one", logs[0])
	case c.HLog != "" && len(logs) != len(results):
		return nil, nil, nil, fmt.Errorf("--hlog needs a log (*%s) of each shard: there are %d results and %d logs", logSuffix, len(results), len(logs))
	}
	for _, path := range []string{c.JSON, c.HLog} {
		if path == "" {
			continue
		}
		if err := result.CheckFile(path); err != nil {
			return nil, nil, nil, err
		}
	}
	conditions, err = result.ParseConditions(c.SLO)
	return results, logs, conditions, err
}

func mergeResults(paths []string) (*result.Run, error) {
	var runs []*result.Run
	for _, path := range paths {
		run, err := result.ReadFile(path)
		if err != nil {
			return nil, err
		}
		runs = append(runs, run)
	}
	return result.Merge(runs)
}

// mergeLogs writes the log that belongs to the merged run, whole or not at all.
func mergeLogs(path string, paths []string, merged *result.Run) error {
	var logs []*result.LogReader
	for _, from := range paths {
		file, err := os.Open(from)
		if err != nil {
			return err
		}
		defer file.Close()
		log, err := result.NewLogReader(file)
		if err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
		if log.Header.Run != merged.ID {
			return fmt.Errorf("%s: it is of run %q, and the results are of %q", from, log.Header.Run, merged.ID)
		}
		logs = append(logs, log)
	}
	out, err := result.Create(path)
	if err != nil {
		return err
	}
	if err := result.MergeLogs(out, logs); err != nil {
		out.Abort()
		return err
	}
	return out.Commit()
}
