// Package loop is strand's reactor: an [Engine] of one [Loop] per core, each a goroutine that waits for readiness and runs
// what has become possible.
//
// There are two ways to use it. The callback API ([Engine.Serve], [Handler], [Conn]) is an event server: OnOpen,
// OnData, OnClose, called on the loop's goroutine, for people who want the last nanosecond or the last byte.
// Below it lies the [Socket]: a descriptor whose readiness is remembered and whose data is read only when somebody
// wants it. Package coserver builds its blocking connections on that.
//
// A callback that blocks, blocks every connection of its loop. Package coserver has no such rule.
package loop
