//go:build !unix

package pollertest

import "testing"

var topics []topic

type fixture struct{}

func open(*testing.T, Backend) *fixture { return nil }
