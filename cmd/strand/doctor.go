package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/strand-net/strand/bench/doctor"
)

type doctorCommand struct {
	Conns        int    `default:"1000" help:"Connections at the same time that this machine is to hold." placeholder:"N"`
	Side         string `default:"both" help:"Which ends of them are on this machine: server, client or both." placeholder:"NAME"`
	Processes    int    `default:"1" help:"Processes that share the connections, at each end." placeholder:"N"`
	Sources      int    `default:"1" help:"Addresses that the client connects from." placeholder:"N"`
	Destinations int    `default:"1" help:"Addresses and ports that it connects to." placeholder:"N"`
	JSON         bool   `name:"json" help:"Write the findings as JSON."`
}

// Run ends without an error if the machine can hold the connections.
func (c *doctorCommand) Run() error {
	system := doctor.System{
		Root: os.DirFS("/"), PageSize: os.Getpagesize(), Parent: os.Getppid(), GOMAXPROCS: runtime.GOMAXPROCS(0),
		Env: map[string]string{},
	}
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if value, set := os.LookupEnv(name); set {
			system.Env[name] = value
		}
	}
	report, err := doctor.Examine(system, doctor.Options{
		Conns: c.Conns, Side: doctor.Side(c.Side), Processes: c.Processes, Sources: c.Sources, Destinations: c.Destinations,
	})
	if err != nil {
		return usageError{err}
	}
	if c.JSON {
		text, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Println(string(text))
		if err != nil {
			return err
		}
	} else if err := report.WriteTable(os.Stdout); err != nil {
		return err
	}
	if !report.OK {
		return errors.New("something is in the way")
	}
	return nil
}
