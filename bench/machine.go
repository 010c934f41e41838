package bench

import (
	"runtime"
	"runtime/debug"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/host"
)

// Machine says where and with what was measured. What cannot be found out is "unknown".
type Machine struct {
	OS         string `json:"os"`
	Arch       string `json:"arch"`
	Kernel     string `json:"kernel"`
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`      // that this process may use
	GOMAXPROCS int    `json:"gomaxprocs"` // of the servers
	Go         string `json:"go"`
	Version    string `json:"version"`
	Revision   string `json:"vcs_revision"`
	Modified   bool   `json:"vcs_modified"`
}

func describeMachine() Machine {
	m := Machine{
		OS:         runtime.GOOS,
		Arch:       runtime.GOARCH,
		Kernel:     "unknown",
		CPU:        "unknown",
		Cores:      runtime.NumCPU(),
		GOMAXPROCS: runtime.GOMAXPROCS(0),
		Go:         runtime.Version(),
		Version:    "unknown",
		Revision:   "unknown",
	}
	if kernel, err := host.KernelVersion(); err == nil {
		m.Kernel = kernel
	}
	if cpus, err := cpu.Info(); err == nil && len(cpus) > 0 && cpus[0].ModelName != "" {
		m.CPU = cpus[0].ModelName
	}
	if build, ok := debug.ReadBuildInfo(); ok {
		m.Version = build.Main.Version
		for _, setting := range build.Settings {
			switch setting.Key {
			case "vcs.revision":
				m.Revision = setting.Value
			case "vcs.modified":
				m.Modified = setting.Value == "true"
			}
		}
	}
	return m
}
