package result

import "reflect"

// Machine says where and with what was measured. What cannot be found out is "unknown", or 0.
type Machine struct {
	OS          string  `json:"os"`
	Arch        string  `json:"arch"`
	Kernel      string  `json:"kernel"`
	CPU         string  `json:"cpu"`
	Cores       int     `json:"cores"` // that this process may use
	Threads     int     `json:"threads_per_core"`
	NUMANodes   int     `json:"numa_nodes"`
	Governor    string  `json:"governor"`
	Virtual     string  `json:"virtual"` // the hypervisor, "" for none
	Steal       float64 `json:"steal"`   // share of the time that the hypervisor took, over the run
	Memory      int64   `json:"memory"`
	CPUQuota    float64 `json:"cpu_quota"` // cores, the least of all cgroups above; 0 for none
	Descriptors uint64  `json:"descriptors"`

	GOMAXPROCS int               `json:"gomaxprocs"`
	Go         string            `json:"go"`
	Env        map[string]string `json:"env,omitempty"`     // GOGC, GOMEMLIMIT, GODEBUG as far as they are set
	Sysctls    map[string]string `json:"sysctls,omitempty"` // those that bear upon connections

	Version  string `json:"version"`
	Revision string `json:"vcs_revision"`
	Modified bool   `json:"vcs_modified"`
	Network  string `json:"network"` // "loopback", or the name of the interface
}

// same says whether other describes the same machine and program, at another time.
func (m Machine) same(other *Machine) bool {
	m.Steal = other.Steal
	return reflect.DeepEqual(&m, other)
}
