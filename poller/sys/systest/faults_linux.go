package systest

// Faults are what happens now and then: each number is how often in a thousand.
type Faults struct {
	// Interrupt: a call is EINTR, having done nothing; except close(2), which has done its work.
	Interrupt int

	// Short: a send takes less than there is room for, and a read stops short where it may: on a Unix socket, or
	// after urgent data.
	Short int

	// Spurious: a wait reports a registered descriptor for which nothing of what it says holds.
	Spurious int

	// Few: a wait returns fewer events than there are.
	Few int

	// Abort: a connection is gone before it is accepted (ECONNABORTED).
	Abort int

	// NoWatch: a connection cannot be registered, for want of memory (ENOMEM) or by the limit of the user (ENOSPC).
	NoWatch int
}

// SetFaults changes them.
func (k *Kernel) SetFaults(faults Faults) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.faults = faults
}

// roll returns a number below n that depends on the seed and on how often it was asked for the same file, but not on
// what happens elsewhere.
func (k *Kernel) roll(f *file, n int) int {
	f.rolls++
	return int(mix(k.options.Seed^mix(f.serial<<32|f.rolls)) % uint64(n))
}

func (k *Kernel) chance(f *file, inThousand int) bool {
	return inThousand > 0 && k.roll(f, 1000) < inThousand
}

// mix spreads the bits of a number over all others (the finalizer of SplitMix64).
func mix(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
