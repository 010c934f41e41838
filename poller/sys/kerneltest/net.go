package kerneltest

import "github.com/strand-net/strand/poller/sys"

func init() {
	substitutes["net"] = func() { sys.Host = sys.Net } // poller.New sees what it gets
}
