package coserver_test

import (
	"bytes"
	"io"
	"log/slog"
	"math/bits"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// audience is many clients of one server, and their connections in the same order.
func audience(t testing.TB, s *coserver.Server, size int) (conns []*coserver.Conn, clients []net.Conn) {
	come := make(chan *coserver.Conn, 1)
	s.Handler = func(c *coserver.Conn) error {
		come <- c
		_, err := c.Next()
		return err
	}
	s.Logger = slog.New(slog.DiscardHandler)
	ln, err := s.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() {
		for _, client := range clients {
			client.Close()
		}
		require.NoError(t, s.Close())
		require.ErrorIs(t, <-served, coserver.ErrServerClosed)
	})
	for range size {
		client, err := net.DialTimeout("tcp", ln.Addr().String(), patience)
		require.NoError(t, err)
		clients = append(clients, client)
		conns = append(conns, <-come)
	}
	return conns, clients
}

// One of a thousand does not read. The others get every message, in order, and Broadcast returns at once.
func TestBroadcastWaitsForNobody(t *testing.T) {
	const messages, size = 30, 4000
	for carrier, peers := range map[coserver.Carrier]int{coserver.Inline: 1000, coserver.Channel: 200} {
		t.Run(carrier.String(), func(t *testing.T) {
			s := &coserver.Server{Engine: newEngine(t, coserver.EngineConfig{Loops: 2}), Carrier: carrier, MaxQueued: 60_000}
			conns, clients := audience(t, s, peers)
			narrow(t, conns[0], clients[0])
			stall(t, conns[0], make([]byte, 1000))
			var readers sync.WaitGroup
			got := make([]atomic.Int32, peers)
			for i := 1; i < peers; i++ {
				readers.Go(func() {
					next := 0
					err := readFrames(t, io.LimitReader(clients[i], messages*(12+size)), func(_, number int) {
						if number != next {
							t.Errorf("peer %d: message %d instead of %d", i, number, next)
						}
						next++
						got[i].Add(1)
					})
					noError(t, err)
				})
			}
			refused := 0
			for number := range messages {
				refused += peers - coserver.Broadcast(slices.Values(conns), frameOf(1, number, size))
				if number%10 == 9 {
					eventually(t, func() bool {
						for i := 1; i < peers; i++ {
							if int(got[i].Load()) != number+1 {
								return false
							}
						}
						return true
					}, "all but one have all")
				}
			}
			readers.Wait()
			require.NotZero(t, conns[0].Queued())
			require.NotZero(t, refused)
			require.EqualValues(t, refused, s.Stats().Queues.Refused)
		})
	}
}

// A handler, too, sends to all the others and goes on, as in a chat: nobody's message is lost, and all see the messages of each sender
// in the same order.
func TestChat(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		const members, lines = 20, 30
		var mu sync.Mutex
		room := make(map[*coserver.Conn]bool)
		s := &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			mu.Lock()
			room[c] = true
			mu.Unlock()
			defer func() {
				mu.Lock()
				delete(room, c)
				mu.Unlock()
			}()
			for {
				line, err := c.ReadSlice('\n')
				if err != nil {
					return err
				}
				mu.Lock()
				all := make([]*coserver.Conn, 0, len(room))
				for other := range room {
					all = append(all, other)
				}
				mu.Unlock()
				coserver.Broadcast(slices.Values(all), line)
				if _, err := c.Write([]byte("ok\n")); err != nil {
					return err
				}
			}
		}}
		addr := start(t, s, "tcp")
		clients := make([]net.Conn, members)
		for i := range clients {
			clients[i] = dial(t, addr)
		}
		eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(room) == members }, "all are there")
		var group sync.WaitGroup
		for i, client := range clients {
			group.Go(func() {
				for n := range lines {
					if _, err := client.Write([]byte{'A' + byte(i), '0' + byte(n), '\n'}); !noError(t, err) {
						return
					}
				}
			})
			group.Go(func() {
				var next [members]int
				all := make([]byte, members*lines*3+lines*3)
				if _, err := io.ReadFull(client, all); !noError(t, err) {
					return
				}
				acknowledged := 0
				for line := range bytes.Lines(all) {
					if string(line) == "ok\n" {
						acknowledged++
						continue
					}
					from, n := int(line[0]-'A'), int(line[1]-'0')
					if n != next[from] {
						t.Errorf("member %d: line %d of %d instead of %d", i, n, from, next[from])
					}
					next[from]++
					if from == i && acknowledged > n {
						t.Errorf("member %d: line %d comes after the answer to it", i, n)
					}
				}
			})
		}
		group.Wait()
	})
}

// consume reads what comes to each client. The returned function waits until it is so many bytes in all.
func consume(clients []net.Conn) (await func(total int64)) {
	var mu sync.Mutex
	var got int64
	more := sync.NewCond(&mu)
	for _, client := range clients {
		go func() {
			for buffer := make([]byte, 4096); ; {
				n, err := client.Read(buffer)
				if err != nil {
					return
				}
				mu.Lock()
				if got += int64(n); got%int64(len(clients)) == 0 {
					more.Broadcast()
				}
				mu.Unlock()
			}
		}()
	}
	return func(total int64) {
		mu.Lock()
		for got < total {
			more.Wait()
		}
		mu.Unlock()
	}
}

// A connection that has nothing queued owns nothing for it, and one for which a Message is enqueued allocates nothing.
func TestEnqueueDoesNotAllocate(t *testing.T) {
	s := new(coserver.Server)
	conns, clients := audience(t, s, 1)
	await := consume(clients)
	m := coserver.NewMessage(make([]byte, 64))
	sent := int64(0)
	allocs := testing.AllocsPerRun(1000, func() {
		noError(t, conns[0].EnqueueMessage(m))
		sent += 64
		await(sent)
	})
	require.Zero(t, allocs)
	eventually(t, func() bool { return !coserver.HasQueue(conns[0]) }, "the queue is given back")
	if bits.UintSize == 64 {
		require.EqualValues(t, 352, coserver.SizeOfConn)
	}
}

// BenchmarkBroadcast measures a message of 64 bytes to a thousand connections, from the call until all have got it, and what of that is
// the call.
func BenchmarkBroadcast(b *testing.B) {
	const peers = 1000
	ways := map[string]func([]*coserver.Conn, []byte){
		"Broadcast": func(conns []*coserver.Conn, p []byte) { coserver.Broadcast(slices.Values(conns), p) },
		"Enqueue": func(conns []*coserver.Conn, p []byte) {
			for _, c := range conns {
				_ = c.Enqueue(p)
			}
		},
		"Write": func(conns []*coserver.Conn, p []byte) {
			for _, c := range conns {
				_, _ = c.Write(p)
			}
		},
	}
	for _, way := range []string{"Broadcast", "Enqueue", "Write"} {
		b.Run("call="+way, func(b *testing.B) {
			conns, clients := audience(b, new(coserver.Server), peers)
			await := consume(clients)
			message := make([]byte, 64)
			b.ReportAllocs()
			sent, inCall := int64(0), time.Duration(0)
			for b.Loop() {
				before := time.Now()
				ways[way](conns, message)
				inCall += time.Since(before)
				sent += 64 * peers
				await(sent)
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/peers, "ns/conn")
			b.ReportMetric(float64(inCall)/float64(b.N)/peers, "ns-call/conn")
		})
	}
}
