package browser_test

import (
	"github.com/strand-net/strand/bench/report/internal/made"
	"github.com/strand-net/strand/bench/result"
)

// several returns as many runs, of different servers; of three the last has errors and is invalid.
func several(n int) []*result.Run {
	var runs []*result.Run
	for i, server := range []string{"net", "coserver", "loop"}[:n] {
		run := made.Run{Name: "echo, 1,000 connections, 64 B, 50,000/s", Server: server, Seconds: 60 + i, Factor: 1.3 - 0.3*float64(i)}.Result()
		if i == 2 {
			run.Invalid = []string{"the generator was the limit: schedule lag p99 is 12 ms, more than 10 % of p99"}
			run.Errors = map[string]int64{"connection reset": 12}
			run.SLO[1].OK = false
			run.Intervals[20].Errors = 12
		}
		runs = append(runs, run)
	}
	return runs
}
