package doctor_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/doctor"
)

// healthy are the files of a machine on which all is well for a million connections.
var healthy = map[string]string{
	"proc/self/limits":                                                  "Limit                     Soft Limit           Hard Limit           Units     \nMax open files            2000000              2000000              files     \n",
	"proc/7/limits":                                                     "Max open files            2000000              unlimited            files     \n",
	"proc/sys/fs/nr_open":                                               "4000000",
	"proc/sys/fs/file-max":                                              "9223372036854775807",
	"proc/sys/fs/file-nr":                                               "1000\t0\t9223372036854775807",
	"proc/meminfo":                                                      "MemTotal:       65000000 kB\nMemFree:         1000 kB\nMemAvailable:   60000000 kB\n",
	"proc/sys/net/ipv4/tcp_mem":                                         "4000000\t8000000\t16000000",
	"proc/sys/net/ipv4/tcp_rmem":                                        "4096\t16384\t6291456",
	"proc/sys/net/ipv4/tcp_wmem":                                        "4096\t16384\t4194304",
	"proc/sys/net/core/somaxconn":                                       "4096",
	"proc/sys/net/ipv4/tcp_max_syn_backlog":                             "4096",
	"proc/sys/net/ipv4/tcp_migrate_req":                                 "1",
	"proc/sys/net/ipv4/ip_local_port_range":                             "1024\t65535",
	"proc/sys/net/ipv4/ip_local_reserved_ports":                         "",
	"proc/sys/net/ipv4/tcp_tw_reuse":                                    "2",
	"proc/sys/net/core/netdev_max_backlog":                              "1000",
	"proc/net/softnet_stat":                                             "0012ab34 00000000 00000001\n0000ab34 00000000 00000000\n",
	"proc/cpuinfo":                                                      "processor\t: 0\nflags\t\t: fpu tsc\n",
	"proc/stat":                                                         "cpu  900 0 100 5000 0 0 0 0 0 0\ncpu0 900 0 100 5000 0 0 0 0 0 0\n",
	"proc/self/cgroup":                                                  "0::/user.slice/one.service\n",
	"proc/self/mountinfo":                                               "25 20 0:22 / /sys rw - sysfs sysfs rw\n30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
	"sys/fs/cgroup/user.slice/one.service/cpu.max":                      "max 100000",
	"sys/fs/cgroup/user.slice/cpu.max":                                  "max 100000",
	"sys/fs/cgroup/user.slice/memory.max":                               "max",
	"sys/devices/system/cpu/smt/active":                                 "0",
	"sys/devices/system/cpu/cpu0/topology/thread_siblings_list":         "0,4",
	"sys/devices/system/cpu/cpu0/cpufreq/scaling_governor":              "performance",
	"sys/devices/system/cpu/cpu1/cpufreq/scaling_governor":              "performance",
	"sys/devices/system/clocksource/clocksource0/current_clocksource":   "tsc",
	"sys/devices/system/clocksource/clocksource0/available_clocksource": "tsc hpet acpi_pm",
}

// machine is the healthy one with some files changed; nil as content removes one.
func machine(changes map[string]string) doctor.System {
	files := fstest.MapFS{}
	all := maps.Clone(healthy)
	maps.Copy(all, changes)
	for name, text := range all {
		if text != gone {
			files[name] = &fstest.MapFile{Data: []byte(text + "\n")}
		}
	}
	return doctor.System{Root: files, PageSize: 4096, Parent: 7, GOMAXPROCS: 4}
}

// gone stands for a file that is not there.
const gone = "\x00"

// million is a load that the healthy machine can hold.
var million = doctor.Options{Conns: 1_000_000, Sources: 16}

func examine(t *testing.T, s doctor.System, o doctor.Options) *doctor.Report {
	t.Helper()
	report, err := doctor.Examine(s, o)
	require.NoError(t, err)
	return report
}

func TestHealthy(t *testing.T) {
	report := examine(t, machine(nil), million)
	require.True(t, report.OK)
	require.GreaterOrEqual(t, len(report.Findings), 19)
	for _, f := range report.Findings {
		require.Equal(t, doctor.OK, f.Level, "%+v", f)
		require.NotEqual(t, "unknown", f.Value, f.Name)
		require.Empty(t, f.Why+f.Fix, f.Name)
	}
}

// Each change of the healthy machine is found, once, and nothing else.
func TestFindings(t *testing.T) {
	const cpu = "sys/devices/system/cpu/"
	const v1 = "7:cpu,cpuacct:/docker/abc/inner\n8:memory:/docker/abc/inner\n"
	const v1Mounts = "31 25 0:27 /docker/abc /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" +
		"32 25 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
	for _, c := range []struct {
		name    string
		changes map[string]string
		options func(*doctor.Options)
		level   doctor.Level
		finding string
		value   string
		fix     string
	}{
		{"hard limit", map[string]string{"proc/self/limits": "Max open files 1024 20000 files"}, nil, doctor.Bad, "open files, hard limit", "20000", "prlimit --pid $$ --nofile=1000032:1000032"},
		{"hard limit for shares", map[string]string{"proc/self/limits": "Max open files 1024 20000 files"}, nil, doctor.Bad, "open files, hard limit", "20000", "share the connections among 51 processes at each end"},
		{"hard limit over nr_open", map[string]string{"proc/self/limits": "Max open files 9 20000 files", "proc/sys/fs/nr_open": "1000000"}, nil, doctor.Bad, "open files, hard limit", "20000", "as root: sysctl -w fs.nr_open=1000032; then as root: prlimit"},
		{"soft limit of the shell", map[string]string{"proc/7/limits": "Max open files 1024 2000000 files"}, nil, doctor.Note, "open files, soft limit", "1024", "ulimit -n 1000032"},
		{"file-max", map[string]string{"proc/sys/fs/file-max": "2000000"}, nil, doctor.Bad, "fs.file-max", "2000000", "sysctl -w fs.file-max=2001064"},
		{"memory", map[string]string{"proc/meminfo": "MemAvailable: 15000000 kB"}, nil, doctor.Bad, "memory that is available", "14.31 GiB", "fewer connections"},
		{"memory of a parent cgroup", map[string]string{"sys/fs/cgroup/user.slice/memory.max": "1073741824"}, nil, doctor.Bad, "memory limit of cgroup /user.slice", "1 GiB", "raise"},
		{"memory of cgroup v1", map[string]string{"proc/self/cgroup": v1, "proc/self/mountinfo": v1Mounts, "sys/fs/cgroup/memory/docker/abc/inner/memory.limit_in_bytes": "9223372036854771712", "sys/fs/cgroup/memory/docker/memory.limit_in_bytes": "104857600"}, nil, doctor.Bad, "memory limit of cgroup /docker", "100 MiB", "raise"},
		{"tcp_mem", map[string]string{"proc/sys/net/ipv4/tcp_mem": "100 1999999 16000000"}, nil, doctor.Bad, "net.ipv4.tcp_mem", "100 1999999 16000000", `sysctl -w net.ipv4.tcp_mem="1500000 2000000 3000000"`},
		{"tcp_rmem", map[string]string{"proc/sys/net/ipv4/tcp_rmem": "4096 131072 6291456"}, nil, doctor.Note, "net.ipv4.tcp_rmem", "4096 131072 6291456", `sysctl -w net.ipv4.tcp_rmem="4096 32768 6291456"`},
		{"somaxconn", map[string]string{"proc/sys/net/core/somaxconn": "128"}, nil, doctor.Bad, "net.core.somaxconn", "128", "sysctl -w net.core.somaxconn=4096"},
		{"syn backlog", map[string]string{"proc/sys/net/ipv4/tcp_max_syn_backlog": "128"}, nil, doctor.Note, "net.ipv4.tcp_max_syn_backlog", "128", "sysctl -w net.ipv4.tcp_max_syn_backlog=4096"},
		{"migration", map[string]string{"proc/sys/net/ipv4/tcp_migrate_req": "0"}, nil, doctor.Note, "net.ipv4.tcp_migrate_req", "0", "sysctl -w net.ipv4.tcp_migrate_req=1"},
		{"ports that more would help", map[string]string{"proc/sys/net/ipv4/ip_local_port_range": "32768 60999"}, func(o *doctor.Options) { o.Sources = 20 }, doctor.Bad, "net.ipv4.ip_local_port_range", "32768 60999 (28232 ports)", `sysctl -w net.ipv4.ip_local_port_range="1024 65535"; or connect from 36 source addresses`},
		{"ports that are not enough", nil, func(o *doctor.Options) { o.Sources, o.Destinations = 3, 5 }, doctor.Bad, "net.ipv4.ip_local_port_range", "1024 65535 (64512 ports)", "connect from 4 source addresses, or to as many ports"},
		{"ports that are reserved", map[string]string{"proc/sys/net/ipv4/ip_local_reserved_ports": "1,1024,2000-5999,65535"}, nil, doctor.Bad, "net.ipv4.ip_local_port_range", "1024 65535 (60510 ports)", "connect from 17 source"},
		{"reuse of ports", map[string]string{"proc/sys/net/ipv4/tcp_tw_reuse": "0"}, nil, doctor.Note, "net.ipv4.tcp_tw_reuse", "0 (never)", "sysctl -w net.ipv4.tcp_tw_reuse=1"},
		{"conntrack", map[string]string{"proc/sys/net/netfilter/nf_conntrack_max": "262144", "proc/sys/net/netfilter/nf_conntrack_count": "4000"}, nil, doctor.Bad, "net.netfilter.nf_conntrack_max", "262144", "sysctl -w net.netfilter.nf_conntrack_max=1255000"},
		{"drops", map[string]string{"proc/net/softnet_stat": "00000001 00000010 0\n00000001 00000001 0\n"}, nil, doctor.Note, "net.core.netdev_max_backlog", "1000", "sysctl -w net.core.netdev_max_backlog=10000"},
		{"governor", map[string]string{cpu + "cpu1/cpufreq/scaling_governor": "schedutil"}, nil, doctor.Note, "frequency governor", "performance, schedutil", "cpupower frequency-set -g performance"},
		{"SMT", map[string]string{cpu + "smt/active": "1"}, nil, doctor.Note, "SMT", "on", "echo off > /sys/devices/system/cpu/smt/control"},
		{"steal", map[string]string{"proc/stat": "cpu 900 0 80 5000 0 0 0 20 0 0", "proc/cpuinfo": "flags : fpu hypervisor"}, nil, doctor.Note, "virtual machine", "yes, 2.0 % of the time stolen since its start", "dedicated"},
		{"quota of a parent", map[string]string{"sys/fs/cgroup/user.slice/cpu.max": "150000 100000"}, nil, doctor.Bad, "GOMAXPROCS", "4, CPU quota 1.5 of cgroup /user.slice", "export GOMAXPROCS=2"},
		{"the least quota of all", map[string]string{"sys/fs/cgroup/user.slice/cpu.max": "50000 100000", "sys/fs/cgroup/user.slice/one.service/cpu.max": "200000 100000"}, nil, doctor.Bad, "GOMAXPROCS", "4, CPU quota 0.5 of cgroup /user.slice", "export GOMAXPROCS=1"},
		{"quota of cgroup v1 in a container", map[string]string{"proc/self/cgroup": v1, "proc/self/mountinfo": v1Mounts, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "300000", "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000", "sys/fs/cgroup/cpu,cpuacct/inner/cpu.cfs_quota_us": "-1"}, nil, doctor.Bad, "GOMAXPROCS", "4, CPU quota 3 of cgroup /docker/abc", "export GOMAXPROCS=3"},
		{"clock source with a better one", map[string]string{"sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet"}, nil, doctor.Note, "clock source", "hpet", "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource"},
		{"clock source without", map[string]string{"sys/devices/system/clocksource/clocksource0/current_clocksource": "xen", "sys/devices/system/clocksource/clocksource0/available_clocksource": "xen hpet"}, nil, doctor.Note, "clock source", "xen", "boot with a clock source"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := million
			if c.options != nil {
				c.options(&o)
			}
			report := examine(t, machine(c.changes), o)
			require.Equal(t, c.level != doctor.Bad, report.OK)
			var found []doctor.Finding
			for _, f := range report.Findings {
				if f.Level != doctor.OK {
					found = append(found, f)
				}
			}
			require.Len(t, found, 1, "%+v", found)
			require.Equal(t, c.level, found[0].Level)
			require.True(t, strings.HasPrefix(found[0].Name, c.finding), found[0].Name)
			require.Equal(t, c.value, found[0].Value)
			require.NotEmpty(t, found[0].Why)
			require.Contains(t, found[0].Fix, c.fix)
		})
	}
}

// What is said to help does.
func TestFixesHelp(t *testing.T) {
	small := map[string]string{
		"proc/self/limits":                      "Max open files 1024 20000 files",
		"proc/7/limits":                         "Max open files 1024 20000 files",
		"proc/sys/net/ipv4/ip_local_port_range": "32768 60999",
	}
	o := doctor.Options{Conns: 90_000}
	require.False(t, examine(t, machine(small), o).OK)
	o.Processes, o.Sources = 5, 4
	require.True(t, examine(t, machine(small), o).OK)
	o.Processes = 4
	require.False(t, examine(t, machine(small), o).OK)
	o.Processes, o.Sources = 5, 3
	require.False(t, examine(t, machine(small), o).OK)
	o.Side = doctor.Server // needs no ports
	require.True(t, examine(t, machine(small), o).OK)
}

func TestCollector(t *testing.T) {
	s := machine(nil)
	s.Env = map[string]string{"GOGC": "off"}
	finding := func() doctor.Finding {
		report := examine(t, s, million)
		require.True(t, report.OK)
		return report.Findings[len(report.Findings)-1]
	}
	f := finding()
	require.Equal(t, doctor.Note, f.Level)
	require.Equal(t, "GOGC=off, GOMEMLIMIT not set (none)", f.Value)
	s.Env["GOMEMLIMIT"] = "1GiB"
	require.Equal(t, doctor.OK, finding().Level)
}

// A file that is missing, or has something else in it, is unknown and never well or bad.
func TestUnknown(t *testing.T) {
	for name := range healthy {
		for _, content := range []string{gone, "", "x", "-", "9 x"} {
			report := examine(t, machine(map[string]string{name: content}), million)
			for _, f := range report.Findings {
				require.NotEqual(t, doctor.Bad, f.Level, "%s is %q: %+v", name, content, f)
			}
		}
	}
}

func TestOptions(t *testing.T) {
	for want, change := range map[string]func(*doctor.Options){
		"conns: 0 is not from 1":                                      func(o *doctor.Options) { o.Conns = 0 },
		"conns: 1000000000 is not from 1":                             func(o *doctor.Options) { o.Conns = 1_000_000_000 },
		"sources: -1 is not":                                          func(o *doctor.Options) { o.Sources = -1 },
		"destinations: -1 is not":                                     func(o *doctor.Options) { o.Destinations = -1 },
		"processes: -1 is not":                                        func(o *doctor.Options) { o.Processes = -1 },
		`side: unknown side "left" (there are: server, client, both)`: func(o *doctor.Options) { o.Side = "left" },
	} {
		o := million
		change(&o)
		_, err := doctor.Examine(machine(nil), o)
		require.ErrorContains(t, err, want)
	}
	_, err := doctor.Examine(doctor.System{Root: fstest.MapFS{}}, million)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestWriting(t *testing.T) {
	report := examine(t, machine(map[string]string{"proc/sys/net/core/somaxconn": "128"}), million)
	var out strings.Builder
	require.NoError(t, report.WriteTable(&out))
	require.Regexp(t, `(?m)^bad   net\.core\.somaxconn +128 +wanted: 1024\n      no listener's queue .*\n      > sysctl -w net\.core\.somaxconn=4096, and start the server again$`, out.String())
	require.Contains(t, out.String(), "\nCan this machine hold 1000000 connections (both ends)? no: see what is bad above\n")

	text, err := json.Marshal(report)
	require.NoError(t, err)
	var back doctor.Report
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, *report, back)
}

// The real machine can be examined, and holds one connection.
func TestThisMachine(t *testing.T) {
	s := doctor.System{Root: os.DirFS("/"), PageSize: os.Getpagesize(), Parent: os.Getppid(), GOMAXPROCS: 1}
	report, err := doctor.Examine(s, doctor.Options{Conns: 1})
	if runtime.GOOS != "linux" {
		require.ErrorIs(t, err, errors.ErrUnsupported)
		return
	}
	require.NoError(t, err)
	require.True(t, report.OK, fmt.Sprintf("%+v", report.Findings))
}
