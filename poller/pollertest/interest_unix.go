//go:build unix

package pollertest

import (
	"github.com/strand-net/strand/poller"
	"github.com/stretchr/testify/require"
)

var interestTests = []test{
	{"OnlyWhatWasAskedFor", testOnlyWhatWasAskedFor},
	{"NoneIsSilent", testNoneIsSilent},
	{"NoneReportsClosed", testNoneReportsClosed},
	{"ModifyReportsAnew", testModifyReportsAnew},
	{"ModifyChangesToken", testModifyChangesToken},
	{"ModifyWhileWaiting", testModifyWhileWaiting},
	{"AddWhileWaiting", testAddWhileWaiting},
	{"TokensComeBackWhole", testTokensComeBackWhole},
}

func testOnlyWhatWasAskedFor(f *fixture) {
	a, b := socketPair(f)
	b.write("x")
	for token, interest := range []poller.Interest{poller.Readable, poller.Writable, poller.Readable | poller.Writable} {
		f.add(a, poller.Token(token), interest)
		require.Equal(f, interest, f.await(poller.Token(token), interest))
		if f.backend.Repeats == "" {
			require.Zero(f, f.listen(poller.Token(token)))
		} else {
			require.Zero(f, f.listen(poller.Token(token))&^interest)
		}
		f.remove(a)
	}
}

func testNoneIsSilent(f *fixture) {
	a, b := socketPair(f)
	f.add(a, 1, 0)
	b.write("x")
	require.Zero(f, f.listen(1))
	f.modify(a, 2, poller.Readable)
	f.await(2, poller.Readable)
	f.modify(a, 3, 0)
	b.write("y")
	b.shutdown(shutWrite)
	require.Zero(f, f.listen(3))
}

func testNoneReportsClosed(f *fixture) {
	a, b := tcpPair(f)
	f.add(a, 1, 0)
	b.reset()
	f.await(1, poller.Closed)
}

func testModifyReportsAnew(f *fixture) {
	a, b := socketPair(f)
	b.write("x")
	f.add(a, 1, poller.Readable|poller.Writable)
	for range 5 {
		f.await(1, poller.Readable|poller.Writable)
		f.settle()
		f.modify(a, 1, poller.Readable|poller.Writable)
	}
	f.await(1, poller.Readable|poller.Writable)
}

func testModifyChangesToken(f *fixture) {
	a, b := socketPair(f)
	f.add(a, 1, poller.Readable)
	b.write("x") // this event is pending under the old token
	f.modify(a, 2, poller.Readable)
	f.await(2, poller.Readable) // and fixture.wait lets no other token pass
}

func testModifyWhileWaiting(f *fixture) {
	for round := range 20 {
		a, _ := socketPair(f)
		f.add(a, 1, 0)
		done := f.background(-1)
		stagger(round)
		require.NoError(f, f.poller.Modify(a.fd, 2, poller.Writable))
		f.live[a.fd] = 2
		result := finish(f, done, "Wait")
		require.NoError(f, result.err)
		require.Equal(f, 1, result.n)
		require.Equal(f, poller.Event{Token: 2, Readiness: poller.Writable}, f.batch[0])
		f.remove(a)
	}
}

func testAddWhileWaiting(f *fixture) {
	for round := range 20 {
		a, _ := socketPair(f)
		done := f.background(-1)
		stagger(round)
		require.NoError(f, f.poller.Add(a.fd, 1, poller.Readable|poller.Writable))
		result := finish(f, done, "Wait")
		require.NoError(f, result.err)
		require.Equal(f, 1, result.n)
		require.Equal(f, poller.Event{Token: 1, Readiness: poller.Writable}, f.batch[0])
		require.NoError(f, f.poller.Remove(a.fd))
	}
}

func testTokensComeBackWhole(f *fixture) {
	a, _ := socketPair(f)
	f.add(a, 0, 0)
	for _, token := range []poller.Token{
		0, 1, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<32 | 1, 1<<63 - 1, 1 << 63, 0x0123456789abcdef, 0xfedcba9876543210,
		0xffffffff00000000, 0x00000000ffffffff, poller.Reserved - 1,
	} {
		f.modify(a, token, poller.Writable)
		f.await(token, poller.Writable)
	}
}
