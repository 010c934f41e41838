package result

import (
	"net"
	"runtime"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func TestDescribe(t *testing.T) {
	t.Setenv("GOGC", "123")
	m := Describe()
	require.Equal(t, runtime.GOOS, m.OS)
	require.Equal(t, runtime.GOARCH, m.Arch)
	require.Equal(t, runtime.Version(), m.Go)
	require.Equal(t, runtime.GOMAXPROCS(0), m.GOMAXPROCS)
	require.Equal(t, "123", m.Env["GOGC"])
	require.Positive(t, m.Cores)
	require.Positive(t, m.Memory)
	require.NotEmpty(t, m.CPU)
	require.NotEmpty(t, m.Version)
	if runtime.GOOS == "linux" {
		require.NotEqual(t, unknown, m.Kernel)
		require.NotEmpty(t, m.Sysctls["net.core.somaxconn"])
		require.Positive(t, m.Descriptors)
	}
	again := Describe()
	again.Steal = 0.5
	require.True(t, m.same(&again))
	again.Cores++
	require.False(t, m.same(&again))
}

// files is a root directory with these files.
func files(all map[string]string) fstest.MapFS {
	root := fstest.MapFS{}
	for name, content := range all {
		root[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return root
}

func TestWhatTheKernelTells(t *testing.T) {
	var m Machine
	m.describeKernel(files(map[string]string{
		"sys/devices/system/cpu/cpu0/cpufreq/scaling_governor":      "powersave\n",
		"sys/devices/system/cpu/cpu0/topology/thread_siblings_list": "0,32\n",
		"sys/devices/system/node/online":                            "0-1,3\n",
		"proc/cpuinfo":                                              "processor\t: 0\nflags\t\t: fpu hypervisor lahf_lm\n",
		"proc/sys/net/ipv4/ip_local_port_range":                     "32768\t60999\n",
		"proc/sys/net/core/somaxconn":                               "4096\n",
		"proc/self/limits":                                          "Limit    Soft Limit  Hard Limit  Units\nMax open files            20000                20001                files\n",
	}))
	require.Equal(t, Machine{
		Governor: "powersave", Threads: 2, NUMANodes: 3, Virtual: unknown, Descriptors: 20000,
		Sysctls: map[string]string{"net.ipv4.ip_local_port_range": "32768 60999", "net.core.somaxconn": "4096"},
	}, m)

	m = Machine{Virtual: "kvm"}
	m.describeKernel(files(map[string]string{"proc/cpuinfo": "flags : hypervisor", "proc/self/limits": "Max open files unlimited unlimited files\n"}))
	require.Equal(t, Machine{Governor: unknown, Virtual: "kvm"}, m)

	m = Machine{}
	m.describeKernel(files(map[string]string{"proc/cpuinfo": "flags : fpu", "sys/devices/system/node/online": "x"}))
	require.Equal(t, Machine{Governor: unknown}, m)
}

func TestQuotaOfAllControlGroupsAbove(t *testing.T) {
	const (
		v2 = "29 22 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
		v1 = "30 22 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n31 22 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
	)
	for name, c := range map[string]struct {
		want  float64
		files map[string]string
	}{
		"no files": {0, nil},
		"the own": {1.5, map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "proc/self/mountinfo": v2, "sys/fs/cgroup/a/b/cpu.max": "150000 100000\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n",
		}},
		"a parent's is less": {0.5, map[string]string{
			"proc/self/cgroup": "0::/a/b/c\n", "proc/self/mountinfo": v2, "sys/fs/cgroup/a/b/c/cpu.max": "150000 100000\n", "sys/fs/cgroup/a/cpu.max": "50000 100000\n",
		}},
		"a container sees a part": {2, map[string]string{
			"proc/self/cgroup": "0::/pods/x/y\n", "proc/self/mountinfo": "29 22 0:26 /pods/x /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "sys/fs/cgroup/y/cpu.max": "max 100000", "sys/fs/cgroup/cpu.max": "200000 100000",
		}},
		"version 1": {0.25, map[string]string{
			"proc/self/cgroup": "4:memory:/m\n3:cpu,cpuacct:/a/b\n", "proc/self/mountinfo": v1,
			"sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us": "100000\n",
			"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "25000\n", "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
			"sys/fs/cgroup/memory/m/cpu.cfs_quota_us": "1\n", "sys/fs/cgroup/memory/m/cpu.cfs_period_us": "100000\n",
		}},
		"both versions": {0.75, map[string]string{
			"proc/self/cgroup": "3:cpu,cpuacct:/\n0::/\n", "proc/self/mountinfo": v1 + "32 22 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup rw\n",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "75000", "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
		}},
		"nonsense": {0, map[string]string{
			"proc/self/cgroup": "x\n0::/a/../..\n", "proc/self/mountinfo": "x - y\n" + v2, "sys/fs/cgroup/cpu.max": "1 0\n",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			require.InDelta(t, c.want, cpuQuota(files(c.files)), 1e-9)
		})
	}
}

func TestNetworkTo(t *testing.T) {
	require.Equal(t, "unix", NetworkTo(&net.UnixAddr{Net: "unix", Name: "/tmp/x"}))
	require.Equal(t, "loopback", NetworkTo(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}))
	require.Equal(t, "loopback", NetworkTo(&net.TCPAddr{IP: net.IPv4(127, 0, 2, 5), Port: 1}))
	interfaces, err := net.Interfaces()
	require.NoError(t, err)
	for _, i := range interfaces {
		addresses, err := i.Addrs()
		require.NoError(t, err)
		for _, a := range addresses {
			if n := a.(*net.IPNet); n.IP.To4() != nil {
				require.Equal(t, "loopback", NetworkTo(&net.TCPAddr{IP: n.IP, Port: 1}), "what goes to an address of ours stays here")
			}
		}
	}
}

func TestSteal(t *testing.T) {
	require.InDelta(t, 0.25, StealWatch{1, 100}.until(StealWatch{11, 140}), 1e-9)
	require.Zero(t, StealWatch{1, 100}.until(StealWatch{1, 100}))
	require.Zero(t, StealWatch{1, 100}.until(StealWatch{0, 200}), "it may go back by a rounding")
	share := WatchSteal().Share()
	require.GreaterOrEqual(t, share, 0.)
	require.LessOrEqual(t, share, 1.)
}
