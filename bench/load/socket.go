package load

import (
	"net"
	"net/netip"
)

// connect makes a socket and begins to connect it. EAGAIN says that the listener of a unix socket has no room now. Kernel.Connected tells how it
// ends, once it is Writable.
func (w *worker) connect(remote net.Addr, source netip.Addr) (int, error) {
	if native(w.kernel) {
		return connectNative(remote, source)
	}
	if remote, ok := remote.(*net.UDPAddr); ok {
		return connectEach(w.kernel, source, remote)
	}
	var local net.Addr
	if source.IsValid() {
		local = &net.TCPAddr{IP: source.AsSlice(), Zone: source.Zone()}
	}
	return w.kernel.Connect(local, remote)
}
