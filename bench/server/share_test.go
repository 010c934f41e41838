package server_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/server"
)

// share is ParseShare of a text that is good.
func share(t *testing.T, text string) server.Share {
	t.Helper()
	s, err := server.ParseShare(text)
	require.NoError(t, err)
	return s
}

// A share is exact and even: wherever one begins to count, so many in a row have as many of it as they must.
func TestShare(t *testing.T) {
	for _, c := range []struct {
		text          string
		has, of, from uint64 // so many of each; the first is number from
	}{
		{"100%", 1, 1, 0},
		{"100.0000%", 1, 1, 0},
		{"99%", 99, 100, 1},
		{"50%", 1, 2, 1},
		{"33%", 33, 100, 3},
		{"33.3333%", 333_333, 1_000_000, 3},
		{"12.5%", 1, 8, 7},
		{"3%", 3, 100, 33},
		{"1%", 1, 100, 99},
		{"001%", 1, 100, 99},
		{"0.1%", 1, 1000, 999},
		{"0.10%", 1, 1000, 999},
		{"0.025%", 1, 4000, 3999},
		{"0.0001%", 1, 1_000_000, 999_999},
	} {
		t.Run(c.text, func(t *testing.T) {
			s := share(t, c.text)
			var count, first uint64
			for n := range 3 * c.of {
				if s.Has(n) {
					if count == 0 {
						first = n
					}
					count++
				}
				if n >= c.of && s.Has(n-c.of) {
					count--
				}
				if n >= c.of-1 && count != c.has {
					t.Fatalf("%d of the %d that end with number %d, want %d", count, c.of, n, c.has)
				}
			}
			require.Equal(t, c.from, first)
		})
	}
	none := share(t, "0%")
	require.Equal(t, server.Share{}, none)
	for n := range uint64(1_000_000) {
		if none.Has(n) {
			t.Fatalf("number %d belongs to nothing", n)
		}
	}
	require.True(t, share(t, "1%").Has(1<<63+91), "9223372036854775899")
	require.False(t, share(t, "1%").Has(1<<63+92))
}

func TestParseShareRefuses(t *testing.T) {
	for _, text := range []string{
		"", "%", "1", "0.01", "one", "all", "1 %", " 1%", "1% ", "1%%", "+1%", "-1%", "-0%", "1e1%", "0x1%", "1,5%", ".5%", "1.%", ".%", "1.2.3%",
		"100.0001%", "101%", "1000%", "99999999999999999999%", "0.00001%", "1.00000%", "1/100", "NaN%", "Inf%", "١%", "1%\n",
	} {
		_, err := server.ParseShare(text)
		require.ErrorContains(t, err, "is not a percentage from 0% to 100% with at most 4 decimals", "%q", text)
		s := share(t, "1%")
		require.Error(t, s.UnmarshalText([]byte(text)))
	}
	var s server.Share
	require.NoError(t, s.UnmarshalText([]byte("1%")))
	require.Equal(t, share(t, "1%"), s)
}
