package server

import (
	"bytes"
	"math/rand/v2"
	"sync"

	"github.com/strand-net/strand/bench/load"
)

// A connection of protocol broadcast may begin with load.RoomOrder: then its messages go to those of its room. The messages of one that does not go to every
// connection there is.

// namesRoom reports whether the first bytes of a connection are those of a load.RoomOrder.
func namesRoom(header []byte) bool {
	return bytes.Equal(header, []byte(load.RoomOrderBegin)[:lengthHeader])
}

// rooms are those that somebody is in, by number.
type rooms[C comparable] struct {
	mu     sync.Mutex
	rooms  map[int]*room[C]
	guests map[int]int
}

// enter makes c, which has sent line, a member of the room that this names. tell says so to c, before it can be sent anything else.
func (r *rooms[C]) enter(line []byte, c C, tell func([]byte) error) (in *room[C], leave func(), err error) {
	number, err := load.ParseRoomOrder(string(bytes.TrimSuffix(line, []byte("\n"))))
	if err != nil {
		return nil, nil, err
	}
	r.mu.Lock()
	if r.rooms == nil {
		r.rooms, r.guests = make(map[int]*room[C]), make(map[int]int)
	}
	if in = r.rooms[number]; in == nil {
		in = new(room[C])
		r.rooms[number] = in
	}
	r.guests[number]++
	r.mu.Unlock()
	leave = func() {
		in.remove(c)
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.guests[number]--; r.guests[number] == 0 {
			delete(r.rooms, number)
			delete(r.guests, number)
		}
	}
	if err := in.add(c, func() error { return tell([]byte(load.RoomOrder(number))) }); err != nil {
		leave()
		return nil, nil, err
	}
	return in, leave, nil
}

// room is connections that hear each other.
type room[C comparable] struct {
	mu      sync.Mutex
	members map[C]struct{}
	list    []C // of them; nil when one has come or gone
}

func (r *room[C]) add(c C, tell func() error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.members == nil {
		r.members = make(map[C]struct{})
	}
	r.members[c], r.list = struct{}{}, nil
	return tell()
}

func (r *room[C]) remove(c C) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.members, c)
	r.list = nil
}

// each is the members to range over, without holding anything, and beginning with another each time so that none is always served last.
func (r *room[C]) each(yield func(C) bool) {
	list := r.snapshot()
	if len(list) == 0 {
		return
	}
	first := rand.IntN(len(list))
	for i := range list {
		if !yield(list[(first+i)%len(list)]) {
			return
		}
	}
}

// snapshot may return the same list to the next caller.
func (r *room[C]) snapshot() []C {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.list == nil {
		for c := range r.members {
			r.list = append(r.list, c)
		}
	}
	return r.list
}
