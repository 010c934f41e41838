package sys

import "time"

// started is where Nanotime counts from: time.Since reads the monotonic clock without entering the kernel.
var started = time.Now()
