// Package upgrade replaces a running server by a new process, and loses no client by it: the listening sockets are passed on, so
// there is always somebody who listens, and one queue for those who come. (A new handler or certificate needs no new process:
// coserver.Server.SetHandler, coserver.Server.SetTLSConfig.)
//
//	u, err := upgrade.New(upgrade.Options{})
//	ln, err := u.Listen("tcp", ":7000") // inherited, or bound
//	own, err := server.Adopt(ln)
//	err = u.Ready()
//	go server.Serve(own)
//	for {
//		select {
//		case <-hangups: // SIGHUP, for example
//			go func() {
//				if err := u.Upgrade(ctx); err != nil {
//					log.Print(err) // this process goes on
//				}
//			}()
//		case <-u.Exit():
//			server.Retire(ctx) // the others come to the new process
//			server.Shutdown(ctx)
//			return
//		}
//	}
//
// The new process runs the same code. It finds the socket by the same call of Listen, and the old one goes on until the new one
// has called Ready. A new process that cannot be started, ends or takes too long changes nothing.
//
// # Losing nobody
//
// A process should be Ready before it serves: whom it accepts before that is lost if the old process gives up on it in the last
// moment. Clients can connect meanwhile, and wait in the queue.
//
// Both processes have the same socket, and the queue of connections that nobody has accepted yet belongs to the socket: when
// the old process closes its descriptor, the new one finds them. What the old one has accepted it must serve. So it should not
// end connections only because they are idle: a client that has just connected has not sent anything yet.
// coserver.Server.Retire waits until connections end by themselves; Shutdown after it ends what is left. A [net/http.Server] should
// answer with Connection: close from then on, and be shut down some seconds later.
//
// A [Supervisor] runs several processes on one socket, starts those again that fall, and replaces them one after the other. It
// keeps its own process id.
//
// # Protocol
//
// Sockets are passed as systemd does it (sd_listen_fds(3)): descriptors from 3 on, their number in LISTEN_FDS, their names in
// LISTEN_FDNAMES. So a program of this package can also be started by socket activation. New unsets the variables and
// makes the descriptors close-on-exec: no further process inherits either.
//
// LISTEN_PID says whom the sockets are for. systemd sets it between fork and exec, which a Go program cannot do: it learns the
// id when the new process runs already. So a process of this package leaves LISTEN_PID out and sets STRAND_UPGRADE; the
// descriptor after the last socket is then one end of a pair of sockets, and the first that comes from it is the id of the
// process that all this is for. A process that has another id takes nothing. The names are what Listen was asked for, which is how
// port 0 finds its port again. A program that knows LISTEN_PID only can be started by a shell that sets it:
// sh -c 'LISTEN_PID=$$ exec program'; but it is not ready before it says so to its parent.
//
// If NOTIFY_SOCKET is set, the service manager is told by sd_notify(3) when the process is ready, is being replaced (with the
// MAINPID of the new one) and stops. Units of Type=notify and Type=notify-reload both work. WATCHDOG_PID follows, too
// (sd_watchdog_enabled(3)).
//
// On systems other than unix, Listen binds, and Upgrade fails with [errors.ErrUnsupported].
package upgrade
