package load_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/load"
)

func TestSizesThatAreNone(t *testing.T) {
	for text, want := range map[string]string{
		"":                   `"" is no size`,
		"0":                  `"0" is no size from 1 to 16777216`,
		"-5":                 `"" is no size`,
		"16777217":           "is no size",
		"9-3":                "the range 9-3 ends before it begins",
		"1-x":                `"x" is no size`,
		"64:0":               `"0" is no weight`,
		"64:NaN":             `"NaN" is no weight`,
		"64:1,":              `"" is no size`,
		"lognormal:5":        "lognormal has MEDIAN,SIGMA",
		"lognormal:5,0":      `"0" is no sigma`,
		"lognormal:5,1,4":    "the median 5 is over the largest size 4",
		"lognormal:5,1,4,3":  "lognormal has MEDIAN,SIGMA",
		"lognormal:many,1,9": `"many" is no size`,
	} {
		_, err := load.ParseSizes(text)
		require.ErrorContains(t, err, want, text)
	}
}

func TestSizesAreTextInJSON(t *testing.T) {
	for _, text := range []string{"64", "64-1024", "64:9,1024-2048:1", "lognormal:200,1.5,65536"} {
		var s load.Sizes
		require.NoError(t, json.Unmarshal([]byte(`"`+text+`"`), &s))
		back, err := json.Marshal(s)
		require.NoError(t, err)
		require.Equal(t, `"`+text+`"`, string(back))
	}
	require.Equal(t, "64", load.Sizes{}.String())
	require.Equal(t, "7", load.FixedSize(7).String())
}
