package result

import (
	"io/fs"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/mem"
)

// unknown stands for what could not be found out.
const unknown = "unknown"

// Describe describes this machine, this process and its program. Steal and Network are for the run to set: WatchSteal and NetworkTo tell.
func Describe() Machine {
	m := Machine{
		OS:         runtime.GOOS,
		Arch:       runtime.GOARCH,
		Kernel:     unknown,
		CPU:        unknown,
		Cores:      runtime.NumCPU(),
		GOMAXPROCS: runtime.GOMAXPROCS(0),
		Go:         runtime.Version(),
		Network:    unknown,
	}
	if kernel, err := host.KernelVersion(); err == nil {
		m.Kernel = kernel
	}
	if cpus, err := cpu.Info(); err == nil && len(cpus) > 0 && cpus[0].ModelName != "" {
		m.CPU = cpus[0].ModelName
	}
	if memory, err := mem.VirtualMemory(); err == nil {
		m.Memory = int64(memory.Total)
	}
	if system, role, err := host.Virtualization(); err == nil && role == "guest" {
		m.Virtual = system
	}
	for _, name := range []string{"GOGC", "GOMEMLIMIT", "GODEBUG"} {
		if value, set := os.LookupEnv(name); set {
			if m.Env == nil {
				m.Env = make(map[string]string)
			}
			m.Env[name] = value
		}
	}
	m.describeBuild()
	m.describeKernel(os.DirFS("/"))
	return m
}

func (m *Machine) describeBuild() {
	m.Version, m.Revision = unknown, unknown
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return
	}
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

// sysctls are those that bear upon connections: how many there can be, from how many ports, and what the kernel keeps for them.
var sysctls = []string{
	"fs.file-max", "fs.nr_open",
	"net.core.netdev_max_backlog", "net.core.rmem_max", "net.core.somaxconn", "net.core.wmem_max",
	"net.ipv4.ip_local_port_range", "net.ipv4.tcp_congestion_control", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_max_syn_backlog",
	"net.ipv4.tcp_mem", "net.ipv4.tcp_migrate_req", "net.ipv4.tcp_rmem", "net.ipv4.tcp_tw_reuse", "net.ipv4.tcp_wmem",
	"net.netfilter.nf_conntrack_max",
}

// describeKernel reads what Linux tells in files (proc(5), sysfs(5)); root is its root directory.
func (m *Machine) describeKernel(root fs.FS) {
	m.Governor = unknown
	if governor := line(root, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"); governor != "" {
		m.Governor = governor
	}
	m.Threads = countList(line(root, "sys/devices/system/cpu/cpu0/topology/thread_siblings_list"))
	m.NUMANodes = countList(line(root, "sys/devices/system/node/online"))
	if m.Virtual == "" && hasHypervisor(root) {
		m.Virtual = unknown
	}
	for _, name := range sysctls {
		if value := line(root, "proc/sys/"+strings.ReplaceAll(name, ".", "/")); value != "" {
			if m.Sysctls == nil {
				m.Sysctls = make(map[string]string)
			}
			m.Sysctls[name] = value
		}
	}
	m.Descriptors = maxDescriptors(root)
	m.CPUQuota = cpuQuota(root)
}

// NetworkTo says what leads to an address: "unix", "loopback", or the name of an interface.
func NetworkTo(remote net.Addr) string {
	if strings.HasPrefix(remote.Network(), "unix") {
		return "unix"
	}
	address, err := net.ResolveUDPAddr("udp", remote.String())
	if err != nil {
		return unknown
	}
	conn, err := net.DialUDP("udp", nil, address) // it sends nothing, and tells the route
	if err != nil {
		return unknown
	}
	defer conn.Close()
	local := conn.LocalAddr().(*net.UDPAddr).IP
	if local.IsLoopback() || local.Equal(address.IP) {
		return "loopback"
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return unknown
	}
	for _, i := range interfaces {
		addresses, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addresses {
			if n, ok := a.(*net.IPNet); ok && n.IP.Equal(local) {
				return i.Name
			}
		}
	}
	return unknown
}

// StealWatch sees how much of a time the hypervisor takes.
type StealWatch struct{ steal, total float64 }

// WatchSteal begins.
func WatchSteal() StealWatch {
	all, err := cpu.Times(false)
	if err != nil || len(all) == 0 {
		return StealWatch{}
	}
	t := all[0] // guests' time is in that of users
	return StealWatch{t.Steal, t.User + t.System + t.Idle + t.Nice + t.Iowait + t.Irq + t.Softirq + t.Steal}
}

// Share is the share of all processors' time since the begin, 0 to 1; 0 if it is not known.
func (w StealWatch) Share() float64 { return w.until(WatchSteal()) }

func (w StealWatch) until(now StealWatch) float64 {
	if now.total <= w.total {
		return 0
	}
	return max(0, now.steal-w.steal) / (now.total - w.total)
}
