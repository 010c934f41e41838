package sys

import (
	"sync"
	"time"
)

// zones are the names and numbers of IPv6 scopes that datagrams come from and go to. To ask the kernel for each of them would cost more
// than the datagram does; package net keeps its answers for as long.
var zones = zoneCache{names: make(map[int]string), indexes: make(map[string]uint32)}

const zoneLife = time.Minute

type zoneCache struct {
	mu      sync.Mutex
	asked   time.Time
	names   map[int]string
	indexes map[string]uint32
}

// refresh forgets what is old. The caller must have mu.
func (z *zoneCache) refresh() {
	if now := time.Now(); now.Sub(z.asked) > zoneLife || len(z.indexes) > 1000 {
		z.asked = now
		clear(z.names)
		clear(z.indexes)
	}
}

// scopeName is zone with a memory.
func scopeName(index int) string {
	zones.mu.Lock()
	defer zones.mu.Unlock()
	zones.refresh()
	name, ok := zones.names[index]
	if !ok {
		name = zone(index)
		zones.names[index] = name
	}
	return name
}

// scope is zoneIndex with a memory.
func scope(name string) uint32 {
	if name == "" {
		return 0
	}
	zones.mu.Lock()
	defer zones.mu.Unlock()
	zones.refresh()
	index, ok := zones.indexes[name]
	if !ok {
		index = zoneIndex(name)
		zones.indexes[name] = index
	}
	return index
}
