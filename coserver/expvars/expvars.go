// Package expvars publishes what servers and engines count as variables of package expvar, which net/http serves at /debug/vars. It
// is a package of its own because expvar imports net/http.
package expvars

import (
	"expvar"
	"fmt"
	"sync"

	"github.com/strand-net/strand/coserver"
)

// PublishServer publishes the Stats of s under a name, as JSON with the names of their fields; durations are in nanoseconds. It fails if
// the name is taken. As with all of expvar it is for ever: s is kept until the program ends. Safe from any goroutine.
func PublishServer(name string, s *coserver.Server) error {
	return publish(name, func() any { return s.Stats() })
}

// PublishEngine is PublishServer for an engine.
func PublishEngine(name string, e *coserver.Engine) error {
	return publish(name, func() any { return e.Stats() })
}

// publishing makes sure that two calls do not find the same name free: expvar.Publish ends the program then.
var publishing sync.Mutex

func publish(name string, value expvar.Func) error {
	publishing.Lock()
	defer publishing.Unlock()
	if expvar.Get(name) != nil {
		return fmt.Errorf("expvars: there is a variable %q already", name)
	}
	expvar.Publish(name, value)
	return nil
}
