package bench_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// childMode, in the environment, makes this test binary a child as StartChild wants it, or as it fears it.
const childMode = "BENCH_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childMode) {
	case "":
		goleak.VerifyTestMain(m)
	case "dies":
		fmt.Fprintln(os.Stderr, "no luck today")
		os.Exit(3)
	case "babbles":
		fmt.Println("hello")
		select {}
	case "waits":
		fmt.Println("listening on 127.0.0.1:1 (nothing)")
		os.Stdin.Read(make([]byte, 1))
	case "silent":
		os.Stdin.Read(make([]byte, 1))
	}
}
