package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/strand-net/strand/bench"
	loadreport "github.com/strand-net/strand/bench/report"
	"github.com/strand-net/strand/bench/result"
)

type reportCommand struct {
	Files  []string `arg:"" name:"file" help:"Results of load runs; the others are compared with the first. With --svg and --table also the one file that strand bench --json has written."`
	Output string   `short:"o" help:"Write a page with figures, charts and all data to this file." placeholder:"FILE.html"`
	SVG    string   `name:"svg" help:"Write a small chart of ratios, for a document, to this file." placeholder:"FILE.svg"`
	Table  string   `help:"Write the table of a file of strand bench --json into this document, between two lines that it has for it." placeholder:"FILE.md"`
	Base   string   `default:"net" help:"Server that the ratios of --svg are to: net by default; if none is called so, the first." placeholder:"NAME"`
	Title  string   `help:"Title; by default what the runs have in common." placeholder:"TEXT"`
}

func (c *reportCommand) Run() error {
	if err := c.validate(); err != nil {
		return usageError{err}
	}
	if len(c.Files) == 1 && isComparison(c.Files[0]) {
		comparison, err := bench.ReadReport(c.Files[0])
		if err != nil {
			return usageError{err}
		}
		if c.Output != "" {
			return usageError{fmt.Errorf("output: %s is a comparison, which makes no page: give --svg or --table", c.Files[0])}
		}
		if c.Table != "" {
			if err := c.insertTable(comparison); err != nil {
				return usageError{fmt.Errorf("table: %w", err)}
			}
		}
		if c.SVG == "" {
			return nil
		}
		bars, err := comparison.Bars(c.title("Engines compared with " + comparison.Base))
		if err != nil {
			return err
		}
		return writeFile(c.SVG, func(w io.Writer) error { return loadreport.SVG(w, bars) })
	}
	if c.Table != "" {
		return usageError{fmt.Errorf("table: %s is not what strand bench --json has written", c.Files[0])}
	}
	var runs []*result.Run
	for _, path := range c.Files {
		run, err := result.ReadFile(path)
		if err != nil {
			return usageError{err}
		}
		runs = append(runs, run)
	}
	if c.Output != "" {
		title := runs[0].Name
		for _, run := range runs {
			if run.Name != title {
				title = ""
			}
		}
		if title == "" {
			title = "Load runs"
		}
		err := writeFile(c.Output, func(w io.Writer) error { return loadreport.Write(w, c.title(title), runs) })
		if err != nil {
			return err
		}
	}
	if c.SVG != "" {
		bars, err := loadreport.BarsOf(c.title("Engines compared"), c.Base, runs)
		if err != nil {
			return err
		}
		return writeFile(c.SVG, func(w io.Writer) error { return loadreport.SVG(w, bars) })
	}
	return nil
}

func (c *reportCommand) validate() error {
	if c.Output == "" && c.SVG == "" && c.Table == "" {
		return errors.New("there is nothing to write: give --output, --svg or --table")
	}
	for _, out := range []struct{ option, path string }{{"output", c.Output}, {"svg", c.SVG}, {"table", c.Table}} {
		if out.path == "" {
			continue
		}
		// Who forgets -o would lose a result.
		if strings.EqualFold(filepath.Ext(out.path), ".json") {
			return fmt.Errorf("%s: %s looks like a result, not like a report", out.option, out.path)
		}
		if err := result.CheckFile(out.path); err != nil {
			return fmt.Errorf("%s: %w", out.option, err)
		}
	}
	return nil
}

// insertTable writes the document anew, with the table of what was compared.
func (c *reportCommand) insertTable(comparison *bench.Report) error {
	document, err := os.ReadFile(c.Table)
	if err != nil {
		return err
	}
	if document, err = comparison.InsertTable(document); err != nil {
		return fmt.Errorf("%s: %w", c.Table, err)
	}
	return writeFile(c.Table, func(w io.Writer) error {
		_, err := w.Write(document)
		return err
	})
}

func (c *reportCommand) title(otherwise string) string {
	if c.Title != "" {
		return c.Title
	}
	return otherwise
}

// isComparison reports whether the file is of strand bench and not of a load run. What is neither is told by who reads it.
func isComparison(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	var outline struct {
		Scenarios []json.RawMessage `json:"scenarios"`
	}
	return json.NewDecoder(file).Decode(&outline) == nil && outline.Scenarios != nil
}

// writeFile writes a file whole or not at all.
func writeFile(path string, write func(io.Writer) error) error {
	file, err := result.Create(path)
	if err != nil {
		return err
	}
	if err := write(file); err != nil {
		file.Abort()
		return err
	}
	return file.Commit()
}
