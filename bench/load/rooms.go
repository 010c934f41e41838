package load

import (
	"fmt"
	"strconv"
	"strings"
)

// RoomOrder is the line by which a connection of WorkloadBroadcast says, before all messages, which room it is in, from 1: "room K\n". The server says the same
// line when it has the connection among the members of the room. No message can be taken for it: the length that it begins with would be 1.9 GB.
func RoomOrder(room int) string { return RoomOrderBegin + strconv.Itoa(room) + "\n" }

// RoomOrderBegin is what a RoomOrder begins with. Its first 4 bytes tell it from a message.
const RoomOrderBegin = "room "

// maxRooms bounds what a server can be made to remember.
const maxRooms = 1 << 20

// ParseRoomOrder reads a line without its newline.
func ParseRoomOrder(line string) (room int, err error) {
	number, ok := strings.CutPrefix(line, RoomOrderBegin)
	if room, err = strconv.Atoi(number); !ok || err != nil {
		return 0, fmt.Errorf("%q is not room K", line)
	}
	if room < 1 || room > maxRooms {
		return 0, fmt.Errorf("there are rooms 1 to %d, and not %d", maxRooms, room)
	}
	return room, nil
}

// validateRooms checks who hears whom in a broadcast.
func (o *Options) validateRooms() error {
	switch {
	case o.Rooms == 0:
		return nil
	case o.Rooms < 0 || o.Rooms > maxRooms:
		return fmt.Errorf("rooms: %d is not between 1 and %d", o.Rooms, maxRooms)
	case o.Workload != WorkloadBroadcast:
		return fmt.Errorf("rooms: workload %s has none", o.Workload)
	case o.Rooms > o.Conns:
		return fmt.Errorf("rooms: %d are more than there are connections (%d)", o.Rooms, o.Conns)
	case o.Active < o.Rooms:
		return fmt.Errorf("rooms: %d rooms need as many senders, and only %d connections are active", o.Rooms, o.Active)
	}
	return nil
}

// enter is how a connection enters its room, as a protocol says hello.
func enter(room int) *protocol {
	order := RoomOrder(room + 1)
	return &protocol{hello: []byte(order), welcome: exactly(order)}
}

// seat is where a connection is in a broadcast.
type seat struct {
	sender int32 // which of the senders of its room it is, or -1
	room   int32 // from 0
}

// seats spreads senders over the rooms, and then the others, so that both are everywhere the same number, to within 1. They are in the order of the connections.
func seats(o *Options) (all []seat) {
	rooms := max(1, o.Rooms)
	sender, listener := 0, o.Active
	for i := range o.Threads {
		active := share(o.Active, i, o.Threads)
		for j := range active + share(o.Conns-o.Active, i, o.Threads) {
			if j < active {
				all = append(all, seat{int32(sender / rooms), int32(sender % rooms)})
				sender++
			} else {
				all = append(all, seat{-1, int32(listener % rooms)})
				listener++
			}
		}
	}
	return all
}

// fromElsewhere is a message that connection c should not have got.
func (w *worker) fromElsewhere(c *conn, sender uint32) error {
	w.seg.check.Corrupt++
	if w.opts.Rooms > 0 && int(sender) < len(w.broadcast.seats) {
		return w.fail(c, kindContent, fmt.Errorf("a message of connection %d of room %d has come", sender+1, w.broadcast.seats[sender].room+1))
	}
	return w.fail(c, kindContent, fmt.Errorf("a message of connection %d has come", sender+1))
}

// settleBroadcast says what is missing of the messages to connection c.
func (w *worker) settleBroadcast(c *conn) error {
	published := w.published(c)
	missing := published - c.more.received
	if missing <= 0 {
		return nil
	}
	w.seg.check.Lost += missing
	return w.fail(c, kindContent, fmt.Errorf("%d of %d messages have not come", missing, published))
}

// published is how many messages connection c is to get.
func (w *worker) published(c *conn) int64 {
	return w.broadcast.published[w.broadcast.seats[c.id].room].Load()
}
