package result

import (
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// line is the content of a file of one line, with single spaces; "" if it cannot be read.
func line(root fs.FS, name string) string {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return ""
	}
	return strings.Join(strings.Fields(string(text)), " ")
}

// countList counts a list of numbers and ranges: "0-3,8" has five. It is 0 for what is no list.
func countList(list string) int {
	n := 0
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, err := strconv.Atoi(from)
		if err != nil {
			return 0
		}
		last := first
		if isRange {
			if last, err = strconv.Atoi(to); err != nil {
				return 0
			}
		}
		n += max(0, last-first+1)
	}
	return n
}

// hasHypervisor says whether the processor tells that it is not a real one.
func hasHypervisor(root fs.FS) bool {
	text, err := fs.ReadFile(root, "proc/cpuinfo")
	if err != nil {
		return false
	}
	for l := range strings.Lines(string(text)) {
		if name, flags, _ := strings.Cut(l, ":"); strings.TrimSpace(name) == "flags" {
			return slices.Contains(strings.Fields(flags), "hypervisor")
		}
	}
	return false
}

// maxDescriptors is the soft limit of this process; 0 if it is not known or there is none.
func maxDescriptors(root fs.FS) uint64 {
	text, err := fs.ReadFile(root, "proc/self/limits")
	if err != nil {
		return 0
	}
	for l := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(l, "Max open files"); ok {
			if fields := strings.Fields(rest); len(fields) > 0 {
				limit, _ := strconv.ParseUint(fields[0], 10, 64)
				return limit
			}
		}
	}
	return 0
}

// cpuQuota is the least quota of this process's control group and of all above it that can be seen, in processors; 0 for none. The
// runtime looks only at the lowest, and a container's parent may have less (cgroups(7)).
func cpuQuota(root fs.FS) float64 {
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0
	}
	least := 0.
	for l := range strings.Lines(string(groups)) {
		fields := strings.SplitN(strings.TrimSpace(l), ":", 3)
		if len(fields) != 3 {
			continue
		}
		controllers, group := fields[1], path.Clean("/"+fields[2])
		read := quotaV1
		if controllers == "" {
			read = quotaV2
		} else if !slices.Contains(strings.Split(controllers, ","), "cpu") {
			continue
		}
		for _, m := range cgroupMounts(root, controllers == "") {
			below := strings.TrimPrefix(group, strings.TrimSuffix(m.root, "/")) // a container may see only a part of the tree
			for directory := path.Join("/", below); ; directory = path.Dir(directory) {
				if quota := read(root, strings.TrimPrefix(path.Join(m.point, directory), "/")); quota > 0 && (least == 0 || quota < least) {
					least = quota
				}
				if directory == "/" {
					break
				}
			}
		}
	}
	return least
}

func quotaV2(root fs.FS, directory string) float64 {
	quota, period, _ := strings.Cut(line(root, path.Join(directory, "cpu.max")), " ")
	return ratio(quota, period)
}

func quotaV1(root fs.FS, directory string) float64 {
	return ratio(line(root, path.Join(directory, "cpu.cfs_quota_us")), line(root, path.Join(directory, "cpu.cfs_period_us")))
}

// ratio is 0 where there is no quota: it is "max" or -1 then.
func ratio(quota, period string) float64 {
	q, err := strconv.ParseFloat(quota, 64)
	if err != nil {
		return 0
	}
	p, err := strconv.ParseFloat(period, 64)
	if err != nil || p <= 0 {
		return 0
	}
	return max(0, q/p)
}

// mount is where a hierarchy of control groups can be seen, and from which group on.
type mount struct{ root, point string }

// cgroupMounts are those of version 2, or those of version 1 for processors (proc(5), mountinfo).
func cgroupMounts(root fs.FS, v2 bool) (all []mount) {
	text, err := fs.ReadFile(root, "proc/self/mountinfo")
	if err != nil {
		return nil
	}
	for l := range strings.Lines(string(text)) {
		front, back, ok := strings.Cut(l, " - ")
		mounted, source := strings.Fields(front), strings.Fields(back)
		if !ok || len(mounted) < 5 || len(source) < 3 {
			continue
		}
		wanted := v2 && source[0] == "cgroup2" || !v2 && source[0] == "cgroup" && slices.Contains(strings.Split(source[2], ","), "cpu")
		if wanted {
			all = append(all, mount{mounted[3], mounted[4]})
		}
	}
	return all
}
