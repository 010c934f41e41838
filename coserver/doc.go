// Package coserver serves each connection with one plain, blocking, sequential function, and runs it at the cost of an
// event callback.
//
//	server := &coserver.Server{Handler: func(c *coserver.Conn) error {
//		for {
//			line, err := c.ReadSlice('\n')
//			if err != nil {
//				return err
//			}
//			if _, err := c.Write(line); err != nil {
//				return err
//			}
//		}
//	}}
//	err := server.ListenAndServe("tcp", ":7000")
//
// Connect, receive, send and close happen in the order in which the handler has them: no callback can overtake another.
// A handler that waits in a call on a Conn holds up nothing. It is a coroutine that the reactor of its core resumes;
// see [Carrier] for what else it may do.
//
// With a [Server.Framing], of package frame, a connection's Recv and Send are about whole messages.
//
// A [PacketServer] serves UDP in the same way: what a connection is to a Server, the datagrams of one address are to it.
package coserver
