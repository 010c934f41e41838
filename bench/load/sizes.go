package load

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
)

// MaxSize is the largest message that can be asked for, in bytes.
const MaxSize = 1 << 24

// defaultSize is what the zero value of Sizes means.
const defaultSize = 64

// Sizes says how large messages are. As text it is one of:
//
//	64                 all the same
//	64-1024            any from 64 to 1024, equally likely
//	64:9,1024-2048:1   a list of these with weights: nine of ten have 64 bytes
//	lognormal:200,1.5  lognormal with that median and that standard deviation of the logarithm; never over MaxSize
//	lognormal:200,1.5,65536  the same, never over 65536
//
// The zero value is 64.
type Sizes struct {
	text   string
	ranges []sizeRange
	total  float64 // of the weights

	median, sigma float64 // of a lognormal; ranges has its bounds then
}

type sizeRange struct {
	low, high int
	weight    float64
}

// FixedSize is that of n bytes for every message.
func FixedSize(n int) Sizes {
	return Sizes{text: strconv.Itoa(n), ranges: []sizeRange{{n, n, 1}}, total: 1}
}

// ParseSizes reads what Sizes documents.
func ParseSizes(text string) (Sizes, error) {
	s := Sizes{text: text}
	if rest, ok := strings.CutPrefix(text, "lognormal:"); ok {
		err := s.parseLognormal(rest)
		return s, err
	}
	for part := range strings.SplitSeq(text, ",") {
		span, weight, weighted := strings.Cut(part, ":")
		r := sizeRange{weight: 1}
		var err error
		if weighted {
			if r.weight, err = strconv.ParseFloat(weight, 64); err != nil || !(r.weight > 0) || r.weight > math.MaxInt32 {
				return Sizes{}, fmt.Errorf("%q is no weight", weight)
			}
		}
		low, high, isRange := strings.Cut(span, "-")
		if !isRange {
			high = low
		}
		if r.low, err = parseSize(low); err != nil {
			return Sizes{}, err
		}
		if r.high, err = parseSize(high); err != nil {
			return Sizes{}, err
		}
		if r.high < r.low {
			return Sizes{}, fmt.Errorf("the range %s ends before it begins", span)
		}
		s.ranges = append(s.ranges, r)
		s.total += r.weight
	}
	return s, nil
}

func parseSize(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > MaxSize {
		return 0, fmt.Errorf("%q is no size from 1 to %d", text, MaxSize)
	}
	return n, nil
}

func (s *Sizes) parseLognormal(text string) (err error) {
	fields := strings.Split(text, ",")
	if len(fields) < 2 || len(fields) > 3 {
		return fmt.Errorf("lognormal has MEDIAN,SIGMA or MEDIAN,SIGMA,LARGEST, not %q", text)
	}
	largest := MaxSize
	if len(fields) == 3 {
		if largest, err = parseSize(fields[2]); err != nil {
			return err
		}
	}
	median, err := parseSize(fields[0])
	if err != nil {
		return err
	}
	if median > largest {
		return fmt.Errorf("the median %d is over the largest size %d", median, largest)
	}
	s.median = float64(median)
	if s.sigma, err = strconv.ParseFloat(fields[1], 64); err != nil || !(s.sigma > 0) || s.sigma > 10 {
		return fmt.Errorf("%q is no sigma: more than 0, at most 10", fields[1])
	}
	s.ranges = []sizeRange{{1, largest, 1}}
	return nil
}

// UnmarshalText is ParseSizes.
func (s *Sizes) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSizes(string(text))
	return err
}

// MarshalText is String.
func (s Sizes) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s Sizes) String() string {
	if s.text == "" {
		return strconv.Itoa(defaultSize)
	}
	return s.text
}

// smallest and largest are the bounds of what pick returns.
func (s *Sizes) smallest() int {
	if len(s.ranges) == 0 {
		return defaultSize
	}
	low := s.ranges[0].low
	for _, r := range s.ranges {
		low = min(low, r.low)
	}
	return low
}

func (s *Sizes) largest() int {
	if len(s.ranges) == 0 {
		return defaultSize
	}
	high := 0
	for _, r := range s.ranges {
		high = max(high, r.high)
	}
	return high
}

// atLeast keeps a lognormal from sizes that a framing does not have.
func (s Sizes) atLeast(least int) Sizes {
	if s.sigma > 0 {
		bounds := s.ranges[0]
		bounds.low = max(bounds.low, least)
		s.ranges = []sizeRange{bounds}
	}
	return s
}

// atMost keeps a lognormal whose largest size is not given from larger ones.
func (s Sizes) atMost(most int) Sizes {
	if s.sigma > 0 && s.ranges[0].high == MaxSize {
		bounds := s.ranges[0]
		bounds.high = most
		s.ranges = []sizeRange{bounds}
	}
	return s
}

// fixed reports the size that all messages have, if there is one.
func (s *Sizes) fixed() (int, bool) {
	low := s.smallest()
	return low, low == s.largest()
}

// pick returns the size of the next message.
func (s *Sizes) pick(random *rand.Rand) int {
	switch {
	case s.sigma > 0:
		bounds := s.ranges[0]
		size := s.median * math.Exp(s.sigma*random.NormFloat64())
		return max(bounds.low, int(min(size, float64(bounds.high))))
	case len(s.ranges) == 0:
		return defaultSize
	}
	r := &s.ranges[0]
	if len(s.ranges) > 1 {
		at := random.Float64() * s.total
		for i := range s.ranges {
			if r = &s.ranges[i]; at < r.weight {
				break
			}
			at -= r.weight
		}
	}
	if r.low == r.high {
		return r.low
	}
	return r.low + random.IntN(r.high-r.low+1)
}
