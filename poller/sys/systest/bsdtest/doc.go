// Package bsdtest is a kernel for tests: the machine's own, with kqueue(2) instead of epoll(7). It shows on Linux what package
// poller makes of kqueue's rules, as the manual pages have them; each rule says which. Where macOS, FreeBSD and OpenBSD differ, the
// Kernel's fields choose.
//
// The events are real: each filter is a registration in an epoll instance of its own, so that what is written wakes nobody who
// waits to write. Below these there is another that kevent(2) waits in.
//
// What it cannot show stands in docs/platforms.md.
package bsdtest
