//go:build linux || ((darwin || dragonfly || freebsd || netbsd || openbsd) && !386 && !arm)

package sys

import "time"

func (*host) Nanotime() int64 { return int64(time.Since(started)) }

func (*host) NanotimeAt(t time.Time) int64 { return int64(t.Sub(started)) }
