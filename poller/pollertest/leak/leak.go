// Package leak holds tests to leaving nothing behind: no goroutine and no file descriptor.
package leak

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long what is being closed may take to be gone.
const patience = 5 * time.Second

// Main is a TestMain: it runs the tests of m, and exits with a failure also if one of them left a goroutine or a
// descriptor. What is there before them is not theirs: a package that is imported may have started goroutines. On
// systems other than Linux it counts only goroutines.
func Main(m *testing.M, options ...goleak.Option) {
	before := Descriptors()
	options = append(options, goleak.IgnoreCurrent())
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(options...); err != nil {
			fmt.Fprintln(os.Stderr, "goroutines left:", err)
			code = 1
		}
		if left := leftSince(before); len(left) > 0 {
			fmt.Fprintln(os.Stderr, "descriptors left:", strings.Join(left, ", "))
			code = 1
		}
	}
	os.Exit(code)
}

// checking says that a Check is under way.
var checking atomic.Bool

// Check makes t fail at its end, after the clean-ups registered later, if there are goroutines or open descriptors that
// are not there now. While a check of t or of a test above it is under way, it does nothing: that one will see what is left, and
// knows besides that what t shares with it may change meanwhile (a loop may go on with another goroutine). It must not be used
// by tests that run in parallel.
func Check(t testing.TB) {
	t.Helper()
	if !checking.CompareAndSwap(false, true) {
		return
	}
	before := Descriptors()
	goroutines := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		t.Helper()
		defer checking.Store(false)
		if err := goleak.Find(goroutines); err != nil {
			t.Errorf("goroutines left: %v", err)
		}
		if left := leftSince(before); len(left) > 0 {
			t.Errorf("descriptors left: %s", strings.Join(left, ", "))
		}
	})
}

// Descriptors tells what is open: numbers, and what the kernel calls each. It is empty where it cannot be told.
func Descriptors() map[int]string {
	warmUp()
	return descriptors()
}

// Since lists what is open and was not open before.
func Since(before map[int]string) []string {
	var left []string
	now := descriptors()
	for _, fd := range slices.Sorted(maps.Keys(now)) {
		if name := now[fd]; before[fd] != name {
			left = append(left, fmt.Sprintf("%d (%s)", fd, name))
		}
	}
	return left
}

// leftSince is Since, but gives what is still being closed some time to be gone.
func leftSince(before map[int]string) []string {
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		left := Since(before)
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}

// warmUp makes the runtime open the descriptors of its own network poller, which stay open.
func warmUp() {
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
}
