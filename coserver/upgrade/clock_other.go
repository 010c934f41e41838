//go:build !linux

package upgrade

func monotonicMicroseconds() (int64, bool) { return 0, false }
