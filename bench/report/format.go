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
		return significant(v*100) + noBreak + "%"
	case unitSeconds:
		return significant(v) + noBreak + "s"
	case unitRate:
		return significant(v) + "/s"
	case unitCores:
		if v == 1 {
			return "1" + noBreak + "core"
		}
		return significant(v) + noBreak + "cores"
	}
	return significant(v)
}

// noBreak keeps a number and its unit on one line.
const noBreak = "\u00a0"

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
	return significant(v) + noBreak + name
}

// significant writes v to three significant digits, with all digits before the point, and commas between thousands.
func significant(v float64) string {
	if v == 0 {
		return "0"
	}
	if math.Abs(v) >= 1e15 {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	// The power of ten is that of the rounded number: 0.9999 is written 1.00.
	_, power, _ := strings.Cut(strconv.FormatFloat(v, 'e', 2, 64), "e")
	exponent, _ := strconv.Atoi(power)
	places := 2 - exponent
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
