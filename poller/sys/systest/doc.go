// Package systest is a kernel for tests: a [sys.Kernel] in memory, with sockets, epoll instances, event counters and a
// table of descriptors, and with a client side ([Peer]) that needs no descriptors.
//
// What the kernel leaves open is decided by a seed: how much a call moves, which events come first, what is
// interrupted. Everything else is as Linux does it, above all the edges of epoll(7). A call on a descriptor that is not
// open, and a close of one that is still registered, are answered as Linux would, and noted as violations.
//
// The clock is package time's. In a bubble of testing/synctest it is virtual, and there a [Scheduler] decides when
// system calls go on, so that the same seed gives the same run.
//
// There is one file for each group of system calls. It works on Linux only, whose readiness calls it offers.
package systest
