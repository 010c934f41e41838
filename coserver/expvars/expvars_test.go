package expvars_test

import (
	"encoding/json"
	"expvar"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/coserver/expvars"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// runs of TestPublish: what it publishes stays.
var runs int

// What is published is what Stats says when somebody looks; a name that is taken is an error, and not the end of the program.
func TestPublish(t *testing.T) {
	leak.Check(t)
	engine, err := coserver.NewEngine(coserver.EngineConfig{Loops: 3})
	require.NoError(t, err)
	defer engine.Close()
	s := &coserver.Server{Engine: engine, MaxConns: 7}
	runs++
	serverName, engineName := fmt.Sprintf("server %d", runs), fmt.Sprintf("engine %d", runs)
	require.NoError(t, expvars.PublishServer(serverName, s))
	require.NoError(t, expvars.PublishEngine(engineName, engine))
	require.EqualError(t, expvars.PublishServer(serverName, s), fmt.Sprintf("expvars: there is a variable %q already", serverName))
	require.ErrorContains(t, expvars.PublishEngine("memstats", engine), `"memstats"`)

	var server coserver.ServerStats
	require.NoError(t, json.Unmarshal([]byte(expvar.Get(serverName).String()), &server))
	require.Equal(t, s.Stats(), server)
	var stats coserver.Stats
	require.NoError(t, json.Unmarshal([]byte(expvar.Get(engineName).String()), &stats))
	require.Len(t, stats.Loops, 3)
}
