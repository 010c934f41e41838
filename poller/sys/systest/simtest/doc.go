// Package simtest runs simulations: the engine on the kernel of package systest, driven by one seeded decision after another.
// The same seed gives the same run, so a failure can be replayed:
//
//	go test ./loop -run TestSimulation -seed 4711
package simtest
