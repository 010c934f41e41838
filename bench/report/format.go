package report

import (
	"math"
	"strconv"
	"strings"
)

// unit says how a number is written, here and by the charts of the page, which know it by the same name.
type unit string

const (
	unitCount   unit = "count"
	unitRate    unit = "per_s"
	unitLatency unit = "ns"
	unitBytes   unit = "bytes"
	unitCores   unit = "cores"
	unitShare   unit = "share" // of 1
	unitSeconds unit = "s"
)

func (u unit) format(v float64) string {
	switch u {
	case unitLatency:
		return scaled(v, 1000, "ns", "µs", "ms", "s")
	case unitBytes:
		return scaled(v, 1024, "B", "KiB", "MiB", "GiB", "TiB")
	case unitShare:
		return significant(v*100) + " %"
	case unitSeconds:
		return significant(v) + " s"
	case unitRate:
		return significant(v) + "/s"
	case unitCores:
		if v == 1 {
			return "1 core"
		}
		return significant(v) + " cores"
	}
	return significant(v)
}

// scaled writes v in the largest of the names, each step times the one before, in which it is at least 1.
func scaled(v float64, step float64, names ...string) string {
	name := names[0]
	for _, next := range names[1:] {
		// What is rounded up to a whole step is written in the next.
		if math.Abs(v) < step*0.9995 {
			break
		}
		v /= step
		name = next
	}
	return significant(v) + " " + name
}

// significant writes v to three significant digits, with all digits before the point, and commas between thousands.
func significant(v float64) string {
	if v == 0 {
		return "0"
	}
	if math.Abs(v) >= 1e15 {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	places := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	if places > 9 {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	text := strconv.FormatFloat(v, 'f', max(0, places), 64)
	if strings.Contains(text, ".") && v == math.Trunc(v) {
		text, _, _ = strings.Cut(text, ".")
	}
	return thousands(text)
}

func integer[T ~int | ~int64 | ~uint64](n T) string {
	if n < 0 {
		return thousands(strconv.FormatInt(int64(n), 10))
	}
	return thousands(strconv.FormatUint(uint64(n), 10))
}

// thousands puts commas into a decimal number.
func thousands(text string) string {
	whole, rest, point := strings.Cut(text, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	var out strings.Builder
	for i, digit := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			out.WriteByte(',')
		}
		out.WriteRune(digit)
	}
	if point {
		return sign + out.String() + "." + rest
	}
	return sign + out.String()
}
