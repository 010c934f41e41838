// Package pollertest holds every backend of package poller to the contract that [poller.Poller] writes down. It uses
// nothing but the six methods, on real sockets and pipes.
package pollertest

import (
	"errors"
	"testing"

	"github.com/strand-net/strand/poller"
	"github.com/strand-net/strand/poller/sys"
)

// Backend is what is tested.
type Backend struct {
	// Open makes a Poller. If it fails with errors.ErrUnsupported, the tests are skipped.
	Open func() (poller.Poller, error)

	// Repeats, if not empty, is the reason why the backend reports conditions again that have not changed, as the
	// contract allows. What must never be reported is tested all the same.
	Repeats string

	// NoUrgent, if not empty, is the reason why the backend cannot report Urgent when it comes, but says it of every descriptor, with
	// the first event that says Readable. The tests do not mind that.
	NoUrgent string

	// Kernel, if not nil, is the one whose descriptors the backend takes, and Adopt makes one of these of a socket of this machine,
	// which it closes. What the test then does with it goes through Kernel.
	Kernel sys.Kernel
	Adopt  func(fd int) (int, error)

	// Without are the tests, by topic and name, that are about what the backend does not have, each with the reason.
	Without map[string]string
}

// topic is a group of subtests.
type topic struct {
	name  string
	tests []test
}

type test struct {
	name string
	run  func(*fixture)
}

// TestPoller runs the conformance tests. The subtests do not run in parallel: numbers of descriptors are reused.
func TestPoller(t *testing.T, backend Backend) {
	p, err := backend.Open()
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("this machine has no such backend: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if len(topics) == 0 {
		t.Skip("the tests need the sockets of a Unix system")
	}
	for _, topic := range topics {
		t.Run(topic.name, func(t *testing.T) {
			for _, test := range topic.tests {
				if backend.Without[topic.name+"/"+test.name] == "" {
					t.Run(test.name, func(t *testing.T) { test.run(open(t, backend)) })
				}
			}
		})
	}
}
