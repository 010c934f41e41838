package coserver_test

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// A Conn fills its size class of the allocator; one byte more would cost every connection 32.
func TestSizeOfConn(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) == 8 {
		require.EqualValues(t, 352, unsafe.Sizeof(coserver.Conn{}))
	}
}
