package report

import (
	"testing"

	"github.com/strand-net/strand/poller/pollertest/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }
