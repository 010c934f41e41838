//go:build linux || ((darwin || dragonfly || freebsd || netbsd || openbsd) && !386 && !arm)

package sys

import "time"

// started is where Nanotime counts from: time.Since reads the monotonic clock without entering the kernel.
var started = time.Now()

func (*host) Nanotime() int64 { return int64(time.Since(started)) }

func (*host) NanotimeAt(t time.Time) int64 { return int64(t.Sub(started)) }
