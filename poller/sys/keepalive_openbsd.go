//go:build !386 && !arm

package sys

import "net"

// keepAliveOptions has none: they are those of the system (sysctl(2), net.inet.tcp.keepidle).
func keepAliveOptions(net.KeepAliveConfig) []option { return nil }
