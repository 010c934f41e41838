package upgrade

import (
	"fmt"
	"net"
	"os"
	"time"
)

// notifyLimit is how long a service manager may take to make room for a message.
const notifyLimit = time.Second

// notify tells the service manager, if NOTIFY_SOCKET says that there is one (sd_notify(3)). It may be gone, and then nobody
// wants to know; so there is no error.
func notify(state string) {
	address := os.Getenv("NOTIFY_SOCKET")
	if address == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: address}) // @ is the abstract namespace for both
	if err != nil {
		return
	}
	defer conn.Close()
	conn.SetWriteDeadline(time.Now().Add(notifyLimit))
	_, _ = conn.Write([]byte(state))
}

// reloading is what a service manager wants to hear when a reload begins, with the time of it if there is that clock.
func reloading() string {
	if now, ok := monotonicMicroseconds(); ok {
		return fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now)
	}
	return "RELOADING=1"
}
