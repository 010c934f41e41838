package report

import (
	"math"
	"slices"
)

// lttb returns the indices of at most n points that keep the shape of the line (Largest-Triangle-Three-Buckets, S. Steinarsson,
// "Downsampling Time Series for Visual Representation", 2013), and with them, whatever it chose, that of the highest value: nobody
// shall miss the worst moment. A value that is missing (NaN) counts as 0, so that a gap is a part of the shape. n is at least 3.
func lttb(x, y []float64, n int) []int {
	if len(x) <= n {
		all := make([]int, len(x))
		for i := range all {
			all[i] = i
		}
		return all
	}
	value := func(i int) float64 {
		if math.IsNaN(y[i]) {
			return 0
		}
		return y[i]
	}
	// The first and the last point stay; the others fall into buckets, and each bucket gives the one point that makes the largest
	// triangle with the point chosen before it and the centre of the bucket after it.
	buckets := n - 3 // one place is kept for the highest
	edge := func(bucket int) int { return 1 + bucket*(len(x)-2)/buckets }
	chosen := append(make([]int, 0, n), 0)
	highest := 0
	for i := range y {
		if value(i) > value(highest) {
			highest = i
		}
	}
	for bucket := range buckets {
		from, to := edge(bucket), edge(bucket+1)
		next := min(edge(bucket+2), len(x))
		var centreX, centreY float64
		for i := to; i < next; i++ {
			// Each is divided before the sum, so that large values do not overflow.
			centreX += x[i] / float64(next-to)
			centreY += value(i) / float64(next-to)
		}
		before := chosen[len(chosen)-1]
		best, bestArea := from, -1.0
		for i := from; i < to; i++ {
			area := math.Abs((x[before]-centreX)*(value(i)-value(before)) - (x[before]-x[i])*(centreY-value(before)))
			if area > bestArea {
				best, bestArea = i, area
			}
		}
		chosen = append(chosen, best)
	}
	chosen = append(chosen, len(x)-1)
	if at, found := slices.BinarySearch(chosen, highest); !found {
		chosen = slices.Insert(chosen, at, highest)
	}
	return chosen
}

// thin returns the points of several lines over the same x that each line needs, by lttb.
func thin(x []float64, lines [][]float64, n int) []int {
	var all []int
	for _, y := range lines {
		all = append(all, lttb(x, y, n)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
