package simtest

// Stream is a sequence of bytes of which each end knows each byte without having kept it: by the number of the stream and
// the place in it.
type Stream uint64

// At is the byte at a place. One in sixteen is a newline.
func (s Stream) At(place int) byte {
	z := (uint64(s)<<32 ^ uint64(place)) * 0x9e3779b97f4a7c15
	z = (z ^ z>>29) * 0xbf58476d1ce4e5b9
	z ^= z >> 32
	if z%16 == 0 {
		return '\n'
	}
	return byte(' ' + z>>8%95)
}

// Part is n bytes from a place on.
func (s Stream) Part(place, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = s.At(place + i)
	}
	return p
}

// Differs returns the first place where p is not what the stream has from place on, or -1.
func (s Stream) Differs(p []byte, place int) int {
	for i, b := range p {
		if b != s.At(place+i) {
			return place + i
		}
	}
	return -1
}
