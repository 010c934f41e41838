//go:build !unix

package load

// descriptorLimit: no limit is known on this operating system.
func descriptorLimit() (limit uint64, limited bool) { return 0, false }
