//go:build linux

package load_test

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/load"
	"github.com/strand-net/strand/bench/result"
	"github.com/strand-net/strand/bench/server"
)

// Each message comes to those of its room, and to nobody else. 13 connections are 5 in one room and 4 in each of the others.
func TestRooms(t *testing.T) {
	for name, change := range map[string]func(*load.Options){
		"one sends in each":            func(*load.Options) {},
		"some send, on several loops":  func(o *load.Options) { o.Active, o.Threads, o.Rate = 7, 3, 300 },
		"all send":                     func(o *load.Options) { o.Active, o.Depth = 13, 3 },
		"each is alone":                func(o *load.Options) { o.Rooms = 13 },
		"one room for all":             func(o *load.Options) { o.Rooms = 1 },
		"in batches, of several sizes": func(o *load.Options) { o.Batch, o.Size, o.Rate = 5, sizes(t, "24-3000"), 300 },
	} {
		for _, engine := range []string{server.EngineNet, server.EngineCoserver} {
			t.Run(name+" "+engine, func(t *testing.T) {
				o := quick(startEngine(t, engine, server.ProtoBroadcast))
				o.Workload, o.Conns, o.Rooms = load.WorkloadBroadcast, 13, 3
				change(&o)
				run, err := load.Run(t.Context(), o)
				require.NoError(t, err)
				requireFaultless(t, run)
				require.Equal(t, o.Conns, run.Connect.Made)
				// What a room has had is a multiple of its members, and all of them have had all.
				least, most := int64(o.Conns/o.Rooms), int64((o.Conns+o.Rooms-1)/o.Rooms)
				batch := int64(max(1, o.Batch))
				sent := run.Operations["broadcast"].Count * batch
				require.GreaterOrEqual(t, run.Operations["delivery"].Count, least*sent-most*batch*int64(o.Conns*max(1, o.Depth)))
				require.LessOrEqual(t, run.Operations["delivery"].Count, most*sent+most*batch*int64(o.Conns*max(1, o.Depth)))
			})
		}
	}
}

// Who is in a room hears what is said there and what is said to all, in its order, and nothing of other rooms.
func TestRoomsOfOneServer(t *testing.T) {
	for _, engine := range []string{server.EngineNet, server.EngineCoserver} {
		t.Run(engine, func(t *testing.T) {
			addr := startEngine(t, engine, server.ProtoBroadcast)
			dial := func(first string) *bufio.ReadWriter {
				conn, err := net.Dial("tcp", addr.String())
				require.NoError(t, err)
				t.Cleanup(func() { conn.Close() })
				require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
				c := bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriterSize(conn, 1))
				_, err = c.WriteString(first)
				require.NoError(t, err)
				require.NoError(t, c.Flush())
				return c
			}
			message := func(text string) string {
				return string(binary.BigEndian.AppendUint32(nil, uint32(len(text)))) + text
			}
			say := func(c *bufio.ReadWriter, text string) {
				_, err := c.WriteString(message(text))
				require.NoError(t, err)
				require.NoError(t, c.Flush())
			}
			hear := func(c *bufio.ReadWriter, want string) {
				t.Helper()
				got := make([]byte, len(want))
				_, err := io.ReadFull(c, got)
				require.NoError(t, err)
				require.Equal(t, want, string(got))
			}
			first, second, other := dial(load.RoomOrder(7)), dial(load.RoomOrder(7)), dial(load.RoomOrder(8))
			for c, answer := range map[*bufio.ReadWriter]string{first: load.RoomOrder(7), second: load.RoomOrder(7), other: load.RoomOrder(8)} {
				hear(c, answer)
			}
			nowhere := dial(message("to all"))
			for _, c := range []*bufio.ReadWriter{first, second, other, nowhere} {
				hear(c, message("to all"))
			}
			say(other, "to myself")
			hear(other, message("to myself"))
			say(first, "to us")
			hear(first, message("to us"))
			hear(second, message("to us"))
			say(other, "again")
			hear(other, message("again"))
			say(nowhere, "over")
			for _, c := range []*bufio.ReadWriter{first, second, other, nowhere} {
				hear(c, message("over"))
			}
			wrong := dial("room 0\n")
			_, err := wrong.ReadByte()
			require.Error(t, err, "there is no such room")
		})
	}
}

// roomServer has members in rooms, of which route makes what it likes.
type roomServer struct {
	mu      sync.Mutex
	members map[int][]net.Conn
	route   func(room int, number int) (rooms []int)
}

func (s *roomServer) serve(conn net.Conn) {
	reader := bufio.NewReader(conn)
	line, err := reader.ReadString('\n')
	if err != nil {
		return
	}
	room, err := load.ParseRoomOrder(line[:len(line)-1])
	if err != nil {
		return
	}
	s.mu.Lock()
	s.members[room] = append(s.members[room], conn)
	_, _ = io.WriteString(conn, line)
	s.mu.Unlock()
	for number := 1; ; number++ {
		message := make([]byte, 64)
		if _, err := io.ReadFull(reader, message); err != nil {
			return
		}
		s.mu.Lock()
		for _, to := range s.route(room, number) {
			for _, member := range s.members[to] {
				_, _ = member.Write(message)
			}
		}
		s.mu.Unlock()
	}
}

func TestFaultsOfRooms(t *testing.T) {
	for want, c := range map[string]struct {
		route func(room, number int) []int
		check result.Check
	}{
		"a message of connection 1 of room 1 has come": {func(room, number int) []int {
			if room == 1 && number == 3 {
				return []int{1, 2}
			}
			return []int{room}
		}, result.Check{Corrupt: 2}}, // at both members of room 2
		"message 4 of connection 1 came instead of message 3": {func(room, number int) []int {
			if room == 1 && number == 3 {
				return nil
			}
			return []int{room}
		}, result.Check{Lost: 2}},
		"message 3 of connection 2 came again": {func(room, number int) []int {
			if room == 2 && number == 3 {
				return []int{2, 2}
			}
			return []int{room}
		}, result.Check{Duplicated: 2}},
	} {
		t.Run(want, func(t *testing.T) {
			s := &roomServer{members: make(map[int][]net.Conn), route: c.route}
			o := quick(startHandler(t, s.serve))
			// Two in flight: one that is lost holds nobody up.
			o.Workload, o.Conns, o.Rooms, o.Depth, o.Warmup, o.FailFast = load.WorkloadBroadcast, 4, 2, 2, 0, false
			run, err := load.Run(t.Context(), o)
			require.NoError(t, err)
			require.NotEmpty(t, run.Faults)
			require.Contains(t, run.Faults[0], want)
			run.Check.Checked = 0
			require.Equal(t, c.check, run.Check)
		})
	}
}

// A server that does not know of rooms takes the order for the length of a message that is too large.
func TestServerWithoutRooms(t *testing.T) {
	o := quick(startServer(t, server.ProtoLength))
	o.Workload, o.Rooms = load.WorkloadBroadcast, 2
	_, err := load.Run(t.Context(), o)
	require.ErrorContains(t, err, "hello: the server closed it")
}

func TestRoomsThatCannotBe(t *testing.T) {
	for want, change := range map[string]func(*load.Options){
		"rooms: -1 is not between":          func(o *load.Options) { o.Rooms = -1 },
		"rooms: workload echo has none":     func(o *load.Options) { o.Workload = load.WorkloadEcho },
		"rooms: 6 are more than there are":  func(o *load.Options) { o.Rooms = 6 },
		"rooms: 3 rooms need as many send":  func(o *load.Options) { o.Rooms, o.Active = 3, 2 },
		"shard: workload broadcast":         func(o *load.Options) { o.Shard = result.Shard{Index: 1, Of: 2} },
		"threads: 3 are more than there ar": func(o *load.Options) { o.Threads = 3 },
	} {
		o := quick(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
		o.Workload, o.Rooms = load.WorkloadBroadcast, 2
		change(&o)
		require.ErrorContains(t, o.Validate(), want)
	}
}

func TestRoomOrders(t *testing.T) {
	order := load.RoomOrder(12)
	require.Equal(t, "room 12\n", order)
	room, err := load.ParseRoomOrder("room 12")
	require.NoError(t, err)
	require.Equal(t, 12, room)
	for line, want := range map[string]string{
		"":              "is not room K",
		"room":          "is not room K",
		"room twelve":   "is not room K",
		"Room 1":        "is not room K",
		"room 0":        "and not 0",
		"room -3":       "and not -3",
		"room 99999999": "and not 99999999",
	} {
		_, err := load.ParseRoomOrder(line)
		require.ErrorContains(t, err, want, line)
	}
}
