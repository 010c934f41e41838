package server

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Share is a share of what is counted, exact to a ten-thousandth of a percent. The zero value is none of it.
type Share struct{ millionths uint64 }

const (
	shareOfAll    = 1_000_000
	shareDecimals = 4 // of a percentage
)

var shareForm = regexp.MustCompile(`^([0-9]{1,3})(?:\.([0-9]{1,4}))?%$`)

// ParseShare reads a percentage from 0% to 100% with at most four decimals, such as 1% or 0.1%.
func ParseShare(text string) (Share, error) {
	if parts := shareForm.FindStringSubmatch(text); parts != nil {
		decimals := parts[2] + strings.Repeat("0", shareDecimals-len(parts[2]))
		if n, err := strconv.ParseUint(parts[1]+decimals, 10, 64); err == nil && n <= shareOfAll {
			return Share{n}, nil
		}
	}
	return Share{}, fmt.Errorf("%q is not a percentage from 0%% to 100%% with at most %d decimals, such as 1%% or 0.1%%", text, shareDecimals)
}

// UnmarshalText is ParseShare.
func (s *Share) UnmarshalText(text []byte) (err error) {
	*s, err = ParseShare(string(text))
	return err
}

// Has reports whether number n, counted from 0, belongs to the share. Those that do are spread as evenly as whole numbers can
// be: of 1% it is number 99 and then every hundredth.
func (s Share) Has(n uint64) bool {
	n %= shareOfAll
	return (n+1)*s.millionths/shareOfAll > n*s.millionths/shareOfAll
}
