package doctor

import (
	"path"
	"strings"
)

// least asks every cgroup from this process's own up to the root for a limit, and returns the least, and whose it is.
func (e *examination) least(limit func(dir string, unified bool) (float64, bool)) (least float64, where string, ok bool) {
	own, _ := e.text("proc/self/cgroup")
	for line := range strings.Lines(own) {
		// number:controllers:path; the unified hierarchy has number 0 and no controllers (cgroups(7)).
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) < 3 {
			continue
		}
		unified := parts[0] == "0" && parts[1] == ""
		root, mount, found := e.cgroupMount(parts[1], unified)
		if !found {
			continue
		}
		for group := parts[2]; ; group = path.Dir(group) {
			below := strings.TrimPrefix(group, root)
			if n, has := limit(path.Join(strings.TrimPrefix(mount, "/"), below), unified); has && (!ok || n < least) {
				least, where, ok = n, group, true
			}
			if group == "/" || group == "." || group == root {
				break
			}
		}
	}
	return least, where, ok
}

// cgroupMount finds where a hierarchy is mounted, and which of its groups is the root there. In mountinfo are (proc(5)): id, parent,
// device, root, mount point, options, optional fields, "-", type, source, options of the file system.
func (e *examination) cgroupMount(controllers string, unified bool) (root, mount string, ok bool) {
	text, _ := e.text("proc/self/mountinfo")
	for line := range strings.Lines(text) {
		left, right, _ := strings.Cut(line, " - ")
		mounted, kind := strings.Fields(left), strings.Fields(right)
		if len(mounted) < 5 || len(kind) < 3 {
			continue
		}
		if unified && kind[0] == "cgroup2" || !unified && kind[0] == "cgroup" && controllers != "" && hasAll(kind[2], controllers) {
			return strings.TrimSuffix(mounted[3], "/"), mounted[4], true
		}
	}
	return "", "", false
}

// hasAll tells whether a list separated by commas has everything that another has.
func hasAll(list, wanted string) bool {
	for name := range strings.SplitSeq(wanted, ",") {
		if !strings.Contains(","+list+",", ","+name+",") {
			return false
		}
	}
	return true
}
