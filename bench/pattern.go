package bench

import "encoding/binary"

const frameHeader = 4

// patterns returns several different batches of n messages of size bytes. Connections take them in turn, so that a
// server that mixes up its connections is found out. Lines are letters up to a newline; other messages are bytes of all
// values, with a period that is no power of two. Framed ones begin with a header of frameHeader bytes, big endian, that says how many follow.
func patterns(size, n int, lines, framed bool) [][]byte {
	const variants = 8
	all := make([][]byte, variants)
	for v := range all {
		batch := make([]byte, size*n)
		for i := range batch {
			switch {
			case !lines:
				at := i + 29*v
				batch[i] = byte(at*131 + at>>8)
			case i%size == size-1:
				batch[i] = '\n'
			default:
				batch[i] = 'a' + byte((i+3*v)%26)
			}
		}
		for at := 0; framed && at < len(batch); at += size {
			binary.BigEndian.PutUint32(batch[at:], uint32(size-frameHeader))
		}
		all[v] = batch
	}
	return all
}
