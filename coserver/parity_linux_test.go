package coserver_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// scripts are what every subject must do as package net does it, each named for what it shows.
var scripts = map[string]script{
	"both ways":                    {us.write(5), peer.read(5), peer.write(1000), us.read(100), us.readFull(900), us.addresses(), peer.addresses()},
	"a read brings what there is":  {peer.write(10), us.read(100), peer.write(1), us.read(1), peer.write(3), peer.write(4), us.read(100)},
	"a read brings what fits":      {peer.write(100), us.read(10), us.read(1), us.read(200)},
	"more than the kernel takes":   {begin(us.write(4 << 20)), peer.readFull(4 << 20), us.join(), begin(peer.write(4 << 20)), us.readFull(4 << 20), peer.join()},
	"Copy":                         {peer.write(10_000), peer.closeWrite(), us.copyOut(), us.copyOut(), us.read(1)},
	"zero bytes":                   {us.read(0), us.write(0), peer.write(1), us.read(0), us.read(1), us.read(0)},
	"zero bytes at the end":        {peer.closeWrite(), us.read(0), us.read(1), us.read(0), us.closeWrite(), us.write(0)},
	"zero bytes too late":          {us.deadline("", past), us.read(0), us.write(0), us.readFull(0)},
	"zero bytes after Close":       {us.close(), us.read(0), us.write(0), us.readFull(0)},
	"what came before the end":     {peer.write(10), peer.closeWrite(), us.read(4), us.read(100), us.read(1), us.read(1), us.readFull(1)},
	"the end within a message":     {peer.write(3), peer.closeWrite(), us.readFull(10), us.readFull(10)},
	"an answer after the end":      {peer.write(5), peer.closeWrite(), us.read(100), us.read(100), us.write(1000), us.close(), peer.readFull(1000), peer.read(1)},
	"Close delivers":               {us.write(30_000), us.close(), peer.readFull(30_000), peer.read(1)},
	"Close with input unread":      {peer.write(100), us.read(10), us.write(5), us.close(), peer.read(5), peer.read(1), peer.close()},
	"Close twice":                  {us.close(), us.close(), peer.read(1)},
	"calls after Close":            {us.close(), us.read(1), us.write(1), us.readFull(1), us.copyOut(), us.closeRead(), us.closeWrite(), us.addresses()},
	"deadlines after Close":        {us.close(), us.deadline("", far), us.deadline("Read", past), us.deadline("Write", none)},
	"Close wakes a read":           {begin(us.read(1)), us.close(), us.join(), us.read(1)},
	"Close wakes a write":          {begin(us.flood()), peer.awaitInput(), us.close(), us.join()},
	"CloseWrite":                   {us.write(5), us.closeWrite(), us.write(1), us.closeWrite(), peer.readFull(5), peer.read(1), peer.write(7), us.read(10), us.close(), us.closeWrite()},
	"CloseRead":                    {us.closeRead(), us.read(1), us.closeRead(), us.write(5), peer.read(5), us.read(0)},
	"CloseRead leaves what came":   {peer.write(5), us.closeRead(), us.read(10), us.read(1)},
	"CloseRead wakes a read":       {begin(us.read(1)), us.closeRead(), us.join()},
	"both ends half-closed":        {us.write(3), us.closeWrite(), peer.write(4), peer.closeWrite(), us.readFull(4), us.read(1), peer.readFull(3), peer.read(1), us.close(), peer.close()},
	"a read deadline in the past":  {us.deadline("Read", past), us.read(1), us.write(1), peer.write(3), us.read(3), us.deadline("Read", none), us.read(3)},
	"a write deadline in the past": {us.deadline("Write", past), us.write(1), us.write(1), peer.write(3), us.read(3), us.deadline("Write", far), us.write(1)},
	"both deadlines in the past":   {peer.write(3), us.deadline("", past), us.read(1), us.write(1), us.copyOut(), us.deadline("", none), us.read(3), us.write(1)},
	"a read deadline passes":       {us.deadline("Read", near), us.read(1), us.read(1), us.write(1), us.deadline("Read", far), peer.write(1), us.read(1)},
	"a deadline within a message":  {peer.write(3), us.deadline("Read", soon), us.readFull(10), us.deadline("Read", none), peer.write(7), us.readFull(7)},
	"a write deadline passes":      {begin(us.flood()), peer.awaitInput(), us.deadline("Write", near), us.join(), us.write(1), us.deadline("Write", none), peer.drain(), us.write(1), peer.drain()},
	"a deadline wakes a read":      {begin(us.read(1)), us.deadline("Read", past), us.join(), us.deadline("Read", none), peer.write(2), us.read(2)},
	"a deadline wakes a write":     {begin(us.flood()), peer.awaitInput(), us.deadline("Write", past), us.join(), us.deadline("", none), peer.drain()},
	"a deadline comes closer":      {us.deadline("Read", far), begin(us.read(1)), us.deadline("Read", near), us.join()},
	"a deadline is taken back":     {us.deadline("Read", far), begin(us.read(1)), us.deadline("Read", none), peer.write(1), us.join()},
	"deadlines at the end":         {peer.closeWrite(), us.deadline("Read", past), us.read(1), us.deadline("Read", none), us.read(1)},
	"a reset":                      {peer.reset(), us.read(1), us.read(1), us.write(1), us.write(1), us.close(), us.close()},
	"a reset met by a write":       {peer.reset(), us.write(1), us.write(1), us.read(1), us.read(1)},
	"a reset behind input":         {peer.write(10), peer.reset(), us.read(4), us.read(10), us.read(1), us.read(1), us.write(1)},
	"a reset for unread output":    {us.write(10), peer.close(), us.read(1), us.read(1), us.write(1), us.write(1)},
	"a reset wakes a read":         {begin(us.read(1)), peer.reset(), us.join(), us.read(1), us.write(1)},
	"a reset wakes a write":        {begin(us.flood()), peer.awaitInput(), peer.reset(), us.join(), us.write(1), us.read(1)},
	"half-close after a reset":     {peer.reset(), us.closeRead(), us.closeWrite(), us.read(1), us.read(1)},
	"deadlines after a reset":      {peer.reset(), us.deadline("", past), us.read(1), us.write(1), us.deadline("", far), us.read(1)},
	"Writev":                       {us.writev(10, 0, 3000), peer.readFull(3010), us.writev(), us.writev(0, 0), us.write(1), peer.read(1), us.closeWrite(), us.writev(1, 1)},
	"Writev of very many pieces":   {us.writev(slices.Repeat([]int{1, 3}, 1500)...), peer.readFull(6000)},
	"Writev too late":              {us.deadline("Write", past), us.writev(1, 1), us.deadline("Write", none), us.writev(1, 1), us.close(), us.writev(1, 1), peer.readFull(2), peer.read(1)},
	"Control":                      {us.control(), us.close(), us.control()},
	"writing to nobody":            {peer.close(), us.writeUntilError(), us.write(1), us.read(1), us.read(1), us.close()},
}

// scriptsOfTCP are about what only TCP has, or tells a writer.
var scriptsOfTCP = map[string]script{
	"options":                   {us.options(), us.write(1), peer.read(1)},
	"options after Close":       {us.close(), us.options()},
	"a reset of ours":           {peer.write(5), us.write(5), us.reset(), us.read(1), peer.read(10), peer.read(10), peer.write(1)},
	"CloseWrite during a write": {begin(us.flood()), peer.awaitInput(), us.deadline("Write", 30*near), us.closeWrite(), us.join()},
}

// faults.md F7, F8: package net and the engine give the same results and errors, down to the text.
func TestSameAsNet(t *testing.T) {
	onEachSubject(t, func(t *testing.T, network string, base, open func() *connection) {
		all := maps.Clone(scripts)
		if network != "unix" {
			maps.Copy(all, scriptsOfTCP)
		}
		for name, script := range all {
			t.Run(name, func(t *testing.T) {
				want, got := script.compare(t, name, network, base, open)
				require.Equal(t, want, got)
			})
		}
	})
}

// notPollable is what package net says of a socket whose error the runtime's poller saw before the rest: a reset sets the error of the socket, and then
// its state (tcp_reset), and EPOLLERR that comes alone, in between, makes every later Read fail like this. It says nothing of the connection.
const notPollable = "not pollable"

// compare returns the traces of package net, with what is allowed to differ, and of ours, from a run that no accident in the machine had a part in.
func (s script) compare(t *testing.T, name, network string, base, open func() *connection) (want, got string) {
	t.Helper()
	for before := overflows(t); ; {
		want = strings.Join(allow(t, name, network, s.run(t, base)), "\n")
		got = strings.Join(s.run(t, open), "\n")
		now := overflows(t)
		accident := now != before || strings.Contains(want, notPollable)
		if want == got || !accident {
			return want, got
		}
		before = now
	}
}

// onEachSubject hands out each subject's connections over each network, and those of package net that they are compared with.
func onEachSubject(t *testing.T, test func(t *testing.T, network string, base, open func() *connection)) {
	for _, network := range networks {
		for _, subject := range subjects {
			t.Run(network+"/"+subject.name, func(t *testing.T) {
				test(t, network, subject.base(t, network), subject.open(t, network))
			})
		}
	}
}
